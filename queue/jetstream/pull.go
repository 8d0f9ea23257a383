package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/core"
)

// puller fetches messages of a durable consumer, which it makes where it is not there (any more).
// One goroutine uses it.
type puller struct {
	js       jetstream.JetStream
	stream   string
	consumer jetstream.ConsumerConfig
	logger   *slog.Logger

	bound    jetstream.Consumer
	warnings core.Throttle
	failures uint
}

// fetch hands up to n messages to take as they come. It waits for fetchWait, and after a failure for
// a pause. An answer that is under way at the end of ctx is waited for: it would cost its messages a
// delivery.
func (p *puller) fetch(ctx context.Context, n int, take func(jetstream.Msg)) {
	err := p.try(ctx, n, take)
	if err == nil || ctx.Err() != nil {
		p.failures = 0
		return
	}
	if gone(err) {
		p.bound = nil
	}
	p.failures = min(p.failures+1, 10)
	p.warn(err)
	core.Sleep(ctx, min(firstPause<<p.failures, maxPause))
}

func (p *puller) try(ctx context.Context, n int, take func(jetstream.Msg)) error {
	if p.bound == nil {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		var err error
		if p.bound, err = p.js.CreateOrUpdateConsumer(ctx, p.stream, p.consumer); err != nil {
			p.bound = nil
			return err
		}
	}
	batch, err := p.bound.Fetch(n, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		take(msg)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
		return err
	}
	return nil
}

// gone reports whether the consumer must be made again.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDeleted) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrStreamNotFound)
}

func (p *puller) warn(err error) {
	if suppressed, due := p.warnings.Next(time.Now(), warnInterval); due {
		p.logger.Warn("strunk: fetching from the stream of tasks failed; trying again", "consumer", p.consumer.Durable,
			"error", err, "more_since_last", suppressed)
	}
}
