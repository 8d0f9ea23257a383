// Package jetstream takes messages of a NATS JetStream consumer in: each becomes a task of a queue,
// exactly once, and is acknowledged when that is committed. See package inbox/receive for what the
// queue's handler can do with it.
//
//	consumer, err := js.CreateOrUpdateConsumer(ctx, "ORDERS",
//		jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
//	err = box.Run(ctx, strunkjs.Receive(Invoices, "billing", consumer), Invoices.WorkerInTx(handle))
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/queue"
)

const (
	// batchSize bounds the messages that are committed together.
	batchSize = 100
	// fetchWait is how long a fetch waits for the first message.
	fetchWait = time.Second
)

// Receive makes a receiver of a pull consumer's messages. The consumer must be durable and
// acknowledge explicitly. The name is the one that messages are recognised under in the inbox.
func Receive[T any](q *queue.Queue[T], name string, consumer jetstream.Consumer,
	opts ...receive.Option) *receive.Receiver {
	return receive.Into(q, name, &source{consumer: consumer}, opts...)
}

// source implements receive.Source.
type source struct{ consumer jetstream.Consumer }

// Fetch implements receive.Source.
func (s *source) Fetch(ctx context.Context) (receive.Batch, error) {
	var batch receive.Batch
	if cfg := s.consumer.CachedInfo().Config; cfg.AckPolicy != jetstream.AckExplicitPolicy {
		return batch, fmt.Errorf("strunk/inbox/jetstream: consumer %q acknowledges by %v: it must be %v", cfg.Name,
			cfg.AckPolicy, jetstream.AckExplicitPolicy)
	}
	fetched, err := s.fetch(ctx)
	if err != nil {
		return batch, fmt.Errorf("strunk/inbox/jetstream: %w", err)
	}
	for _, msg := range fetched {
		m, err := message(msg)
		if err != nil {
			return batch, fmt.Errorf("strunk/inbox/jetstream: %w", err)
		}
		batch.Messages = append(batch.Messages, m)
	}
	batch.Ack = func(ctx context.Context) error { return acknowledge(ctx, fetched) }
	batch.Return = func(context.Context) {
		for _, msg := range fetched {
			_ = msg.Nak() // without it the message comes again after the consumer's AckWait
		}
	}
	return batch, nil
}

// fetch waits for the first message, and takes what is there with it.
func (s *source) fetch(ctx context.Context) (all []jetstream.Msg, err error) {
	first, err := s.consumer.Fetch(1, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return nil, err
	}
	for msg := range first.Messages() {
		all = append(all, msg)
	}
	if err := first.Error(); err != nil || len(all) == 0 || ctx.Err() != nil {
		return all, ignoreTimeout(err)
	}
	more, err := s.consumer.FetchNoWait(batchSize - 1)
	if err != nil {
		return all, nil // the first is there
	}
	for msg := range more.Messages() {
		all = append(all, msg)
	}
	return all, nil
}

func ignoreTimeout(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// acknowledge acknowledges all, the last with an answer: so the server has had all before it, too.
func acknowledge(ctx context.Context, all []jetstream.Msg) error {
	for i, msg := range all {
		var err error
		if i < len(all)-1 {
			err = msg.Ack()
		} else {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			err = msg.DoubleAck(ctx)
		}
		if err != nil {
			return fmt.Errorf("strunk/inbox/jetstream: acknowledging: %w", err)
		}
	}
	return nil
}

func message(msg jetstream.Msg) (receive.Message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return receive.Message{}, err
	}
	headers := map[string]string{}
	for name, values := range msg.Headers() {
		if len(values) > 0 {
			headers[strings.ToLower(name)] = values[0]
		}
	}
	place := fmt.Sprintf("%s/%d", meta.Stream, meta.Sequence.Stream)
	return receive.NewMessage(place, msg.Subject(), headers, "ce-", msg.Data()), nil
}
