package main

import (
	"context"
	"time"
)

const (
	eventBatch      = 1_000
	subscriberCount = 8
)

// publishBatches publishes many events a transaction.
func (b *bench) publishBatches(ctx context.Context) error {
	publisher, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.publish(publisher); err != nil {
		return err
	}
	b.add(linePublishBatch, float64(b.sizes.events)/time.Since(began).Seconds())
	return nil
}

func (b *bench) publish(publisher *process) error {
	_, err := publisher.ask(request{Do: doFill, N: b.sizes.events, Batch: eventBatch})
	return err
}

// publishSingly publishes one event a transaction.
func (b *bench) publishSingly(ctx context.Context) error {
	publisher, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	said, err := publisher.ask(request{Do: doAdd, Clients: 8, For: b.sizes.addFor.Microseconds()})
	if err != nil {
		return err
	}
	b.add(linePublishSingle, perSecond(said))
	return nil
}

// subscribers delivers all that was published, from the start of the process with them. The second ones find it where
// the first ones' process has brought it.
func (b *bench) subscribers(ctx context.Context) error {
	publisher, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	if err := b.publish(publisher); err != nil {
		return err
	}
	if _, err := b.server.pool.Exec(ctx, "ANALYZE"); err != nil {
		return err
	}
	p, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	for _, l := range []*line{lineSubscribers, lineSubscribers2} {
		rate, err := b.deliver(ctx, p, l)
		if err != nil {
			return err
		}
		b.add(l, rate)
	}
	return nil
}

func (b *bench) deliver(ctx context.Context, p *process, l *line) (rate float64, err error) {
	names := map[*line]string{lineSubscribers: "first", lineSubscribers2: "second"}
	how := manner{Mode: throughput, Width: subscriberCount, Names: names[l]}
	if _, err := b.server.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := p.ask(request{Do: doWork, manner: how}); err != nil {
		return 0, err
	}
	handled, err := awaitHandled(ctx, subscriberCount*b.sizes.events, b.sizes.subscribedFor, p)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	_, err = p.ask(request{Do: doStop})
	return float64(handled) / took.Seconds(), err
}
