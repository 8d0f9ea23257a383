package main

import (
	"context"
	"time"
)

// idleQueues are those of one worker process, without any task.
const idleQueues = 50

// idle counts what a worker process asks of the server while there is nothing to do.
func (b *bench) idle(ctx context.Context) error {
	w, err := newWire(b.server.pool.Config().ConnConfig.Host, int(b.server.pool.Config().ConnConfig.Port))
	if err != nil {
		return err
	}
	defer w.close()
	defer b.closeAgents() // the wire ends after them
	b.env = w.env(b.server)
	p, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	how := manner{Mode: defaults, Width: idleQueues}
	if _, err := p.ask(request{Do: doWork, manner: how}); err != nil {
		return err
	}
	if err := sleep(ctx, b.sizes.idleWarm); err != nil {
		return err
	}
	if _, err := p.ask(request{Do: doHandled}); err != nil { // for its CPU so far
		return err
	}
	before := w.queries.Load()
	c, err := b.cost(ctx, []*process{p}, func() error {
		if err := sleep(ctx, b.sizes.idleFor); err != nil {
			return err
		}
		_, err := p.ask(request{Do: doHandled})
		return err
	})
	if err != nil {
		return err
	}
	b.add(lineIdleQueries, float64(w.queries.Load()-before)/c.took.Seconds())
	b.add(lineIdleConnections, float64(w.open.Load()))
	b.add(lineIdleClientCPU, c.clientCPU.Seconds()/c.took.Minutes())
	if !c.noCPU {
		b.add(lineIdleServerCPU, c.cpu.Seconds()/c.took.Minutes())
	}
	_, err = p.ask(request{Do: doStop})
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// start takes the time from a worker's start to its first handler, in fresh processes, each with a task that waits.
func (b *bench) start(ctx context.Context) error {
	adder, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	for range b.sizes.starts {
		if err := b.startOnce(ctx, adder); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startOnce(ctx context.Context, adder *process) error {
	if _, err := adder.ask(request{Do: doFill, N: 1, Batch: 1}); err != nil {
		return err
	}
	p, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	began, err := p.ask(request{Do: doWork, N: 1, manner: manner{Mode: quickest, Width: 1}})
	if err != nil {
		return err
	}
	if _, err := awaitHandled(ctx, 1, patience, p); err != nil {
		return err
	}
	first, err := p.ask(request{Do: doCalls, Every: 1})
	if err != nil {
		return err
	}
	b.add(lineStart, float64(first.At[0]-began.At[0])/1000)
	_, err = p.ask(request{Do: doStop})
	return err
}
