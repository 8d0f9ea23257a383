package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// job is the payload: the number of its transaction, and as many bytes as a small job has.
type job struct {
	Transaction int64  `json:"transaction"`
	To          string `json:"to"`
	Body        string `json:"body"`
}

var (
	worked   = queue.Define[job]("worked", queue.Config{})
	unworked = queue.Define[job]("unworked", queue.Config{})
)

// batchSize is that of a transaction while the table is filled, group that of the transactions that are measured.
const (
	batchSize = 5_000
	group     = 10
)

// load is one application: a pool, its box, and the times of the minute that runs.
type load struct {
	pool *pgxpool.Pool
	box  *outbox.Box

	mu           sync.Mutex
	transactions int64
	sent         map[int64]*transaction
	times
}

// transaction is one of those that are measured.
type transaction struct {
	begun, committed time.Time
	handled          []time.Time
}

// times are what a minute has measured.
type times struct {
	commits []time.Duration // from the begin of a transaction until its commit is answered
	waits   []time.Duration // of its tasks, from that answer until the handler
}

func newLoad(ctx context.Context, dsn string) (*load, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return nil, err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &load{pool: pool, box: box, sent: map[int64]*transaction{}}, nil
}

// fill enqueues what waits: every second batch due tomorrow, the others where nobody works.
func (l *load) fill(ctx context.Context, n int) error {
	for first := 0; first < n; first += batchSize {
		batch := jobs(min(batchSize, n-first), 0)
		if err := l.box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
			if first/batchSize%2 == 0 {
				_, err = worked.EnqueueBatch(ctx, tx, batch, queue.Delay(24*time.Hour))
			} else {
				_, err = unworked.EnqueueBatch(ctx, tx, batch)
			}
			return err
		}); err != nil {
			return err
		}
	}
	_, err := l.pool.Exec(ctx, "ANALYZE public.strunk_outbox_tasks")
	return err
}

func jobs(n int, transaction int64) []job {
	batch := make([]job, n)
	for i := range batch {
		batch[i] = job{Transaction: transaction, To: "user@example.com", Body: "welcome"}
	}
	return batch
}

// run works and enqueues until the time is over, and prints a line for each part of it.
func (l *load) run(ctx context.Context, out io.Writer, s sizes) error {
	ctx, cancel := context.WithTimeout(ctx, s.lasts)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.box.Run(ctx, worked.Worker(l.handle, queue.Concurrency(100))) })
	g.Go(func() error { return l.enqueue(ctx, s.rate) })
	g.Go(func() error { return l.reports(ctx, s.report) })
	g.Go(func() error { return l.table(ctx, out, s) })
	return g.Wait()
}

func (l *load) handle(_ context.Context, t queue.Task[job]) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent := l.sent[t.Payload.Transaction]; sent != nil {
		sent.handled = append(sent.handled, now)
		l.settle(t.Payload.Transaction, sent)
	}
	return nil
}

// transact enqueues one group.
func (l *load) transact(ctx context.Context) error {
	l.mu.Lock()
	l.transactions++
	n := l.transactions
	sent := &transaction{begun: time.Now()}
	l.sent[n] = sent
	l.mu.Unlock()
	if err := l.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := worked.EnqueueBatch(ctx, tx, jobs(group, n))
		return err
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sent.committed = time.Now()
	l.settle(n, sent)
	return nil
}

// settle takes the times of a transaction that is committed and whose tasks have been handled. A handler may begin
// before the answer to the commit is read.
func (l *load) settle(n int64, sent *transaction) {
	if sent.committed.IsZero() || len(sent.handled) < group {
		return
	}
	l.commits = append(l.commits, sent.committed.Sub(sent.begun))
	for _, at := range sent.handled {
		l.waits = append(l.waits, max(0, at.Sub(sent.committed)))
	}
	delete(l.sent, n)
}

// enqueue sends transactions at a rate: what is late is made up for.
func (l *load) enqueue(ctx context.Context, rate int) error {
	const clients = 4
	g, ctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error { return l.client(ctx, time.Second*group*clients/time.Duration(rate)) })
	}
	return g.Wait()
}

func (l *load) client(ctx context.Context, pause time.Duration) error {
	for next := time.Now(); ctx.Err() == nil; next = next.Add(pause) {
		core.Sleep(ctx, time.Until(next))
		if err := l.transact(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// reports holds a snapshot for some time, lets go for as long, and so on.
func (l *load) reports(ctx context.Context, held time.Duration) error {
	for core.Sleep(ctx, held); ctx.Err() == nil; core.Sleep(ctx, held) {
		err := pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT count(*) FROM public.strunk_workers"); err != nil {
				return err
			}
			core.Sleep(ctx, held)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

const header = "| minute | tasks | transaction ms: p50, p99 | commit to handler ms: p50, p99, max | " +
	"a report's snapshot | not ended: table MB | its indexes MB | delivered MB |\n|---|---|---|---|---|---|---|---|\n"

const sizesSQL = `
SELECT pg_table_size('public.strunk_outbox_tasks') / 1e6,
       pg_indexes_size('public.strunk_outbox_tasks') / 1e6,
       (SELECT sum(pg_total_relation_size(relid)) / 1e6 FROM pg_partition_tree('public.strunk_outbox_delivered')),
       EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%strunk_workers')`

func (l *load) table(ctx context.Context, out io.Writer, s sizes) error {
	fmt.Fprint(out, header)
	for minute := s.every; ; minute += s.every {
		if core.Sleep(ctx, s.every); ctx.Err() != nil {
			return nil
		}
		t := l.taken()
		var table, indexes, delivered float64
		var held bool
		if err := l.pool.QueryRow(ctx, sizesSQL).Scan(&table, &indexes, &delivered, &held); err != nil {
			return err
		}
		fmt.Fprintf(out, "| %.1f | %d | %.2f, %.2f | %.2f, %.2f, %.0f | %s | %.0f | %.0f | %.0f |\n", minute.Minutes(),
			len(t.waits), at(t.commits, 50), at(t.commits, 99), at(t.waits, 50), at(t.waits, 99), at(t.waits, 100),
			map[bool]string{true: "open"}[held], table, indexes, delivered)
	}
}

// taken returns the times since the last call, sorted.
func (l *load) taken() times {
	l.mu.Lock()
	t := l.times
	l.times = times{}
	l.mu.Unlock()
	slices.Sort(t.commits)
	slices.Sort(t.waits)
	return t
}

// at is a percentile in milliseconds; 0 where nothing was measured.
func at(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := min(len(sorted)*percent/100, len(sorted)-1)
	return float64(sorted[i].Microseconds()) / 1000
}
