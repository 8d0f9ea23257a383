package main

import (
	"context"
	"fmt"
	"time"
)

// drained is what a drain did and cost.
type drained struct {
	cost
	handled int
	cut     bool    // whether the limit of time ended it
	tail    float64 // jobs a second in the last tenth of those handled
}

func (d drained) rate() float64 { return float64(d.handled) / d.took.Seconds() }

// drain enqueues in batches, then works it off: throughput, and what both cost.
func (b *bench) drain(ctx context.Context) error {
	n := b.sizes.drain
	adder, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	filled, err := b.cost(ctx, b.agents, func() error { return fill(adder, n) })
	if err != nil {
		return err
	}
	d, err := b.workOff(ctx, n, b.sizes.drainFor, 1)
	if err != nil {
		return err
	}
	b.add(lineBatch, float64(n)/filled.took.Seconds())
	b.report.addNoted(lineDrain, b.peer, d.rate(), noteCut, d.cut)
	b.add(lineWAL, float64(filled.wal)/float64(n)+float64(d.wal)/float64(d.handled))
	b.add(lineClientCPU, microseconds(filled.clientCPU, n)+microseconds(d.clientCPU, d.handled))
	if !filled.noCPU && !d.noCPU {
		b.add(lineServerCPU, microseconds(filled.cpu, n)+microseconds(d.cpu, d.handled))
	}
	return nil
}

func microseconds(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(n)
}

func fill(adder *process, n int) error {
	_, err := adder.ask(request{Do: doFill, N: n, Batch: batchSize})
	return err
}

// drainByProcesses has 4 worker processes on one queue.
func (b *bench) drainByProcesses(ctx context.Context) error {
	d, err := b.fillAndWorkOff(ctx, b.sizes.drain, b.sizes.drainFor, 4)
	if err != nil {
		return err
	}
	b.report.addNoted(lineProcesses, b.peer, d.rate(), noteCut, d.cut)
	return nil
}

// drainUnderSnapshot drains while a transaction keeps every dead row and index entry alive.
func (b *bench) drainUnderSnapshot(ctx context.Context) error {
	release, err := b.holdSnapshot(ctx)
	if err != nil {
		return err
	}
	defer release()
	d, err := b.fillAndWorkOff(ctx, b.sizes.snapshot, b.sizes.snapshotFor, 1)
	if err != nil {
		return err
	}
	b.report.addNoted(lineSnapshot, b.peer, d.rate(), noteCut, d.cut)
	b.add(lineSnapshotTail, d.tail)
	return nil
}

func (b *bench) fillAndWorkOff(ctx context.Context, n int, limit time.Duration, processes int) (d drained, err error) {
	adder, err := b.openAgent(ctx)
	if err != nil {
		return d, err
	}
	if err := fill(adder, n); err != nil {
		return d, err
	}
	return b.workOff(ctx, n, limit, processes)
}

// workOff works off what is there, n jobs, until all are stored as done or the time is over.
func (b *bench) workOff(ctx context.Context, n int, limit time.Duration, processes int) (d drained, err error) {
	if _, err := b.server.pool.Exec(ctx, "ANALYZE"); err != nil {
		return d, err
	}
	var workers []*process
	for range processes {
		p, err := b.openAgent(ctx)
		if err != nil {
			return d, err
		}
		workers = append(workers, p)
	}
	d.cost, err = b.cost(ctx, workers, func() (err error) {
		for _, p := range workers {
			how := manner{Mode: throughput, Width: 1}
			if _, err := p.ask(request{Do: doWork, N: n, manner: how}); err != nil {
				return err
			}
		}
		if d.handled, err = awaitHandled(ctx, n, limit, workers...); err != nil || d.handled < n {
			return err
		}
		return askAll(workers, doSettle)
	})
	if err != nil {
		return d, err
	}
	d.cut = d.handled < n
	if d.tail, err = lastTenth(workers[0], d.handled); err != nil {
		return d, err
	}
	return d, b.checkDone(ctx, n, workers)
}

func askAll(agents []*process, do string) error {
	for _, p := range agents {
		if _, err := p.ask(request{Do: do}); err != nil {
			return err
		}
	}
	return nil
}

// lastTenth returns the rate of the last tenth of the calls.
func lastTenth(p *process, handled int) (float64, error) {
	every := max(handled/10, 1)
	said, err := p.ask(request{Do: doCalls, Every: int64(every)})
	if err != nil || len(said.At) < 2 {
		return 0, err
	}
	last := said.At[len(said.At)-1] - said.At[len(said.At)-2]
	return float64(every) / (float64(max(last, 1)) / 1e6), nil
}

// checkDone stops the workers and compares what they handled with what is stored as done.
func (b *bench) checkDone(ctx context.Context, n int, workers []*process) error {
	if err := askAll(workers, doStop); err != nil {
		return err
	}
	handled, err := countHandled(workers)
	if err != nil {
		return err
	}
	var left int
	if err := b.server.pool.QueryRow(ctx, b.peer.left).Scan(&left); err != nil {
		return err
	}
	if left != n-handled {
		return fmt.Errorf("%d of %d tasks were handled, and %d are stored as not done", handled, n, left)
	}
	return nil
}
