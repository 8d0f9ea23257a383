package main

import (
	"context"
	"slices"
	"time"
)

// fastRate is one at which commits come in another order than their transactions began.
const fastRate = 2_000

// paceClients enqueue at a rate; each has a transaction at a time.
const paceClients = 16

// slowPace takes the time from a commit to its handler while tasks come one by one.
func (b *bench) slowPace(ctx context.Context) error {
	took, _, err := b.pace(ctx, 200)
	if err != nil {
		return err
	}
	b.add(lineSlow50, part(took, 0.5))
	b.add(lineSlow99, part(took, 0.99))
	return nil
}

// fastPace does it at fastRate.
func (b *bench) fastPace(ctx context.Context) error { return b.fastPaceLines(ctx, linesFast) }

func (b *bench) fastPaceUnderSnapshot(ctx context.Context) error {
	release, err := b.holdSnapshot(ctx)
	if err != nil {
		return err
	}
	defer release()
	return b.fastPaceLines(ctx, linesFastSnapshot)
}

func (b *bench) fastPaceLines(ctx context.Context, lines paced) error {
	took, reached, err := b.pace(ctx, fastRate)
	if err != nil {
		return err
	}
	slower := reached < 0.95*fastRate
	b.report.addNoted(lines.p50, b.peer, part(took, 0.5), noteSlower, slower)
	b.report.addNoted(lines.p99, b.peer, part(took, 0.99), noteSlower, slower)
	b.report.addNoted(lines.p999, b.peer, part(took, 0.999), noteSlower, slower)
	b.report.addNoted(lines.most, b.peer, part(took, 1), noteSlower, slower)
	b.add(lines.reached, reached)
	return nil
}

// pace enqueues at a rate in one process while a worker runs in another. It returns the sorted times from the end of a
// commit to the handler's start, in microseconds, and the rate that was reached.
func (b *bench) pace(ctx context.Context, rate int) (took []int64, reached float64, err error) {
	n := max(int(b.sizes.paceFor.Seconds()*float64(rate)), 10)
	adder, err := b.openAgent(ctx)
	if err != nil {
		return nil, 0, err
	}
	worker, err := b.warmWorker(ctx, adder, n)
	if err != nil {
		return nil, 0, err
	}
	said, err := adder.ask(request{Do: doPace, N: n, Rate: rate, Clients: paceClients})
	if err != nil {
		return nil, 0, err
	}
	if _, err := awaitHandled(ctx, warm+n, 2*b.sizes.paceFor, worker); err != nil {
		return nil, 0, err
	}
	started, err := startTimes(worker, n)
	if err != nil {
		return nil, 0, err
	}
	for i := range started {
		// a handler may start before the client has read the commit's answer
		took = append(took, max(started[i]-said.At[i], 0))
	}
	slices.Sort(took)
	_, err = worker.ask(request{Do: doStop})
	return took, float64(n) / (float64(said.Took) / 1e6), err
}

// part returns a percentile of sorted microseconds, in milliseconds; 1 is the longest.
func part(sorted []int64, of float64) float64 {
	return float64(sorted[min(int(of*float64(len(sorted))), len(sorted)-1)]) / 1000
}

// dueTasks takes the time from when a task is due to its handler.
func (b *bench) dueTasks(ctx context.Context) error {
	n := b.sizes.due
	adder, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	worker, err := b.warmWorker(ctx, adder, n)
	if err != nil {
		return err
	}
	due, every := now()+b.sizes.dueFrom.Microseconds(), b.sizes.dueFor.Microseconds()/int64(n)
	if _, err := adder.ask(request{Do: doFill, N: n, Batch: n, Due: due, Every: every}); err != nil {
		return err
	}
	limit := b.sizes.dueFrom + b.sizes.dueFor + 5*time.Second
	if _, err := awaitHandled(ctx, warm+n, limit, worker); err != nil {
		return err
	}
	started, err := startTimes(worker, n)
	if err != nil {
		return err
	}
	var late []int64
	for i, at := range started {
		late = append(late, max(at-due-int64(i)*every, 0))
	}
	slices.Sort(late)
	b.add(lineDue50, part(late, 0.5))
	b.add(lineDue99, part(late, 0.99))
	_, err = worker.ask(request{Do: doStop})
	return err
}
