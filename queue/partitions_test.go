package queue_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// statements records what a pool sends.
type statements struct {
	sql  []string
	args [][]any
}

// TraceQueryStart implements pgx.QueryTracer.
func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	s.sql, s.args = append(s.sql, q.SQL), append(s.args, q.Args)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A year of days fills the lock table of a server with its defaults, if each look at a task locks every
// partition and its index. A look locks the small partitions, the days that are open, and the one day
// that holds the task.
func TestManyPartitionsNeedFewLocks(t *testing.T) {
	t.Parallel()
	const (
		days = 60 // far more than a look may lock
		// Open are three days ahead, today and yesterday, each with an index. The small partitions have some 30. The
		// rest is the catalogue's.
		most = 2*5 + 30 + 30
	)
	b := newBed(t)
	for first := 1; first <= days; first += 20 { // in pieces: each day that is made takes locks
		b.exec(`SELECT public.strunk_ensure_task_partition(current_date - d) FROM generate_series($1::int, $1 + 19) d`,
			first)
	}
	q := queue.DefineWithResult[note, string]("years", queue.Config{})
	ids := putMany(b, q.Queue, 4)
	stop := b.run(q.Worker(func(_ context.Context, task queue.Task[note]) (string, error) {
		if task.ID == ids[2] {
			return "", queue.Discard("no")
		}
		return "yes", nil
	}))
	reach(b, q.Queue, ids[0], queue.StatusDelivered)
	reach(b, q.Queue, ids[1], queue.StatusDelivered)
	reach(b, q.Queue, ids[2], queue.StatusDiscarded)
	stop()
	b.exec(`UPDATE public.strunk_outbox SET finished_at = clock_timestamp() - interval '49 days' WHERE id = $1`, ids[0])
	b.exec(`DELETE FROM public.strunk_closed_days`)
	for value[*string](b, `SELECT public.strunk_close_day()`) != nil {
		continue
	}
	waiting := put(b, q.Queue, note{})

	seen := &statements{}
	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(b.pool))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.Tracer, cfg.MaxConns = seen, 1
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	watched := bedOn(t, pool, outbox.Config{})
	for _, c := range []struct {
		name string
		id   int64
		want queue.Status
	}{
		{"done long ago", ids[0], queue.StatusDelivered},
		{"done today", ids[1], queue.StatusDelivered},
		{"discarded", ids[2], queue.StatusDiscarded},
		{"waiting", waiting, queue.StatusPending},
		{"unknown", 1 << 60, ""},
	} {
		*seen = statements{}
		rec, err := q.Get(t.Context(), watched.box, c.id)
		if rec.Status != c.want || (err != nil) != (c.want == "") {
			t.Errorf("a task %s: Get returns %q and %v", c.name, rec.Status, err)
		}
		_, _ = q.Result(t.Context(), watched.box, c.id)
		_, _ = q.Cancel(t.Context(), watched.box, c.id, "")
		sent := *seen
		for i, sql := range sent.sql {
			if n := locksOf(b, sql, sent.args[i]); n > most {
				t.Errorf("a task %s: %d locks; want at most %d, however many days are kept: %s", c.name, n, most, sql)
			}
		}
	}
}

// locksOf returns how many locks on tables and indexes a statement takes.
func locksOf(b *bed, sql string, args []any) (n int) {
	b.t.Helper()
	err := pgx.BeginFunc(context.Background(), b.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(context.Background(), sql, args...); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		return tx.QueryRow(context.Background(), `SELECT count(*) FROM pg_catalog.pg_locks
			WHERE pid = pg_backend_pid() AND locktype = 'relation'`).Scan(&n)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}
