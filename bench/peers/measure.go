package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// maxConns is the size of both libraries' pool.
const maxConns = 20

// bench is one library on an empty schema.
type bench struct {
	peer
	pool   *pgxpool.Pool
	sizes  sizes
	report *report
}

func (b *bench) add(what string, value float64) { b.report.add(what, b.name(), value) }

// measure runs one round of a library: each part on an empty schema.
func measure(ctx context.Context, dsn string, p peer, s sizes, r *report) error {
	parts := []func(*bench, context.Context) error{(*bench).throughput, (*bench).singles, (*bench).latency}
	if s.snapshots {
		parts = append(parts, (*bench).underSnapshot)
	}
	for _, part := range parts {
		if err := onEmptySchema(ctx, dsn, func(pool *pgxpool.Pool) error {
			b := &bench{peer: p, pool: pool, sizes: s, report: r}
			if err := b.open(ctx, pool); err != nil {
				return err
			}
			return part(b, ctx)
		}); err != nil {
			return err
		}
	}
	return nil
}

func onEmptySchema(ctx context.Context, dsn string, fn func(*pgxpool.Pool) error) error {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return err
	}
	cfg.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public"); err != nil {
		return err
	}
	return fn(pool)
}

// throughput is the batch enqueue and the drain, with what they cost the server.
func (b *bench) throughput(ctx context.Context) error {
	enqueued, err := b.cost(ctx, b.fill)
	if err != nil {
		return err
	}
	var rates []float64
	drained, err := b.drained(ctx, &rates)
	if err != nil {
		return err
	}
	n := float64(b.sizes.tasks)
	b.add(batchRate, n/enqueued.took.Seconds())
	b.add(drainRate, n/drained.took.Seconds())
	b.add(batchWAL, float64(enqueued.wal)/n)
	b.add(drainWAL, float64(drained.wal)/n)
	b.add(totalWAL, float64(enqueued.wal+drained.wal)/n)
	b.addCPU(batchCPU, enqueued)
	b.addCPU(drainCPU, drained)
	b.addCPU(totalCPU, cost{cpu: enqueued.cpu + drained.cpu, noCPU: enqueued.noCPU || drained.noCPU})
	return nil
}

func (b *bench) addCPU(what string, c cost) {
	if !c.noCPU {
		b.add(what, float64(c.cpu.Nanoseconds())/1000/float64(b.sizes.tasks))
	}
}

// fill enqueues the tasks in batches.
func (b *bench) fill(ctx context.Context) error {
	for first := 0; first < b.sizes.tasks; first += batchSize {
		batch := make([]job, min(batchSize, b.sizes.tasks-first))
		for i := range batch {
			batch[i] = newJob(first + i)
		}
		if err := b.enqueueMany(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// drained drains and checks that all was done. rates are the tasks a second of each quarter, by the
// calls of the handler.
func (b *bench) drained(ctx context.Context, rates *[]float64) (cost, error) {
	if _, err := b.pool.Exec(ctx, "ANALYZE "+b.table()); err != nil {
		return cost{}, err
	}
	q := newQuarters(b.sizes.tasks)
	var stop func() error
	c, err := b.cost(ctx, func(ctx context.Context) (err error) {
		q.begin()
		stop, err = b.drain(ctx, b.sizes.tasks, func(job) { q.tick() })
		return err
	})
	if err != nil {
		return cost{}, err
	}
	if err := stop(); err != nil {
		return cost{}, err
	}
	*rates = q.rates()
	if done, err := b.done(ctx); err != nil || done != b.sizes.tasks {
		return cost{}, fmt.Errorf("%d of %d tasks are stored as done: %w", done, b.sizes.tasks, err)
	}
	return c, nil
}

// underSnapshot drains while a transaction keeps every dead row and index entry alive.
func (b *bench) underSnapshot(ctx context.Context) error {
	if err := b.fill(ctx); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, b.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
	if err != nil {
		return err
	}
	var rates []float64
	drained, err := b.drained(ctx, &rates)
	if err != nil {
		return err
	}
	b.add(snapshotRate, float64(b.sizes.tasks)/drained.took.Seconds())
	b.add(snapshotFirst, rates[0])
	b.add(snapshotLast, rates[len(rates)-1])
	return nil
}

// singles enqueues one task a transaction, with one client and with several.
func (b *bench) singles(ctx context.Context) error {
	borrowed := func(ctx context.Context, j job) error {
		return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return b.enqueueIn(ctx, tx, j) })
	}
	for _, c := range []struct {
		what    string
		clients int
		enqueue func(context.Context, job) error
	}{
		{single1, 1, b.enqueueOne},
		{single8, 8, b.enqueueOne},
		{borrowed1, 1, borrowed},
		{borrowed8, 8, borrowed},
	} {
		rate, err := b.enqueueSingly(ctx, c.clients, c.enqueue)
		if err != nil {
			return err
		}
		b.add(c.what, rate)
	}
	return nil
}

func (b *bench) enqueueSingly(ctx context.Context, clients int,
	enqueue func(context.Context, job) error) (rate float64, err error) {
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error {
			for i := range b.sizes.singles {
				if err := enqueue(ctx, newJob(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return float64(clients*b.sizes.singles) / time.Since(began).Seconds(), err
}

// latency enqueues at a rate while a worker runs, and takes the time from the end of the commit to the handler's start.
func (b *bench) latency(ctx context.Context) error {
	n := int(b.sizes.latency.Seconds() * float64(b.sizes.rate))
	committed, started := make([]time.Time, n), make([]time.Time, n)
	left := newCountdown(n)
	stop, err := b.work(ctx, func(j job) {
		started[j.N] = time.Now()
		left.tick()
	})
	if err != nil {
		return err
	}
	if err := b.enqueuePaced(ctx, committed); err != nil {
		return err
	}
	select {
	case <-left.over:
	case <-ctx.Done():
	}
	if err := stop(); err != nil {
		return err
	}
	took := make([]time.Duration, n)
	for i := range took {
		// a handler may start before the client has read the commit's answer
		took[i] = max(started[i].Sub(committed[i]), 0)
	}
	slices.Sort(took)
	b.add(latency50, milliseconds(took[n/2]))
	b.add(latency99, milliseconds(took[n*99/100]))
	return nil
}

func (b *bench) enqueuePaced(ctx context.Context, committed []time.Time) error {
	tick := time.NewTicker(time.Second / time.Duration(b.sizes.rate))
	defer tick.Stop()
	for i := range committed {
		<-tick.C
		if err := b.enqueueOne(ctx, newJob(i)); err != nil {
			return err
		}
		committed[i] = time.Now()
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quarters notes when each quarter of n calls was over.
type quarters struct {
	n     int64
	calls atomic.Int64
	began time.Time
	at    [4]time.Time
}

func newQuarters(n int) *quarters { return &quarters{n: int64(n)} }

func (q *quarters) begin() { q.began = time.Now() }

func (q *quarters) tick() {
	calls := q.calls.Add(1)
	for i := range int64(len(q.at)) {
		if calls == (i+1)*q.n/4 {
			q.at[i] = time.Now()
		}
	}
}

// rates returns the calls a second in each quarter.
func (q *quarters) rates() []float64 {
	rates := make([]float64, len(q.at))
	last := q.began
	for i, at := range q.at {
		rates[i] = float64(q.n) / 4 / at.Sub(last).Seconds()
		last = at
	}
	return rates
}
