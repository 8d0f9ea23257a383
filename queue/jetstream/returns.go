package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/natsname"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// inboxName is the consumer under which returned tasks are marked as handled.
	inboxName = "queue/jetstream"
	// returnBatch bounds the returned tasks of one transaction.
	returnBatch = 100
	// busyDelay is how long a returned task waits that is still on its way out.
	busyDelay = 2 * time.Second
	// fetchWait is how long a fetch waits for its first message. A stop waits for it.
	fetchWait = time.Second
)

// returns makes dead letters of the tasks that workers have given up.
type returns struct {
	js      jetstream.JetStream
	cfg     Config
	queue   string
	subject string
	box     *outbox.Box
	logger  *slog.Logger
}

func (r *returns) run(life core.Life) {
	pull := &puller{js: r.js, stream: r.cfg.Stream, logger: r.logger, consumer: jetstream.ConsumerConfig{
		Durable:       "strunk-returned-" + natsname.Token(r.cfg.Database) + "-" + natsname.Token(r.queue),
		FilterSubject: r.subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxDeliver: -1}}
	for life.Soft.Err() == nil {
		var fetched []jetstream.Msg
		pull.fetch(life.Soft, returnBatch, func(msg jetstream.Msg) { fetched = append(fetched, msg) })
		if len(fetched) == 0 {
			continue
		}
		if err := r.take(life.Hard, fetched); err != nil {
			r.logger.Warn("strunk: returned tasks could not be made dead letters; trying again", "error", err)
			for _, msg := range fetched {
				_ = msg.NakWithDelay(busyDelay)
			}
		}
	}
}

// take makes dead letters of all messages in one transaction, and then acknowledges them.
func (r *returns) take(ctx context.Context, fetched []jetstream.Msg) error {
	settle := make([]func() error, len(fetched))
	err := r.box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
		for i, msg := range fetched {
			if settle[i], err = r.takeOne(ctx, tx, msg); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, done := range settle {
		_ = done() // a message whose answer is lost comes again, and is found in the inbox
	}
	return nil
}

var errBusy = errors.New("the task is on its way out")

// takeOne returns what is to be said of the message after the commit.
func (r *returns) takeOne(ctx context.Context, tx *outbox.OwnedTx, msg jetstream.Msg) (func() error, error) {
	e, err := opened(msg.Headers())
	if err == nil {
		_, err = inbox.Once(ctx, tx, inboxName, msg.Headers().Get(nats.MsgIdHdr), func(ctx context.Context) error {
			settled, err := queuelink.Returned(ctx, tx, e.task(msg.Data(), e.Spent))
			if err == nil && !settled {
				err = errBusy
			}
			return err
		})
		if err != nil && !core.IsUnstorable(err) && !errors.Is(err, errBusy) && !errors.Is(err, inbox.ErrInvalid) {
			return nil, fmt.Errorf("task %d: %w", e.ID, err)
		}
	}
	switch {
	case err == nil:
		return msg.Ack, nil
	case errors.Is(err, errBusy):
		return func() error { return msg.NakWithDelay(busyDelay) }, nil
	}
	r.logger.Error("strunk: a returned task cannot be stored and is dropped", "task", e.ID, "error", err,
		"header", msg.Headers().Get(Header))
	return func() error { return msg.TermWithReason("it cannot be stored") }, nil
}
