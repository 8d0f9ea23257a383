package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// looks counts the statements that hold a text.
type looks struct {
	of string
	n  atomic.Int64
}

// watchedPool is another pool on the database of a pool, whose statements are counted.
func watchedPool(t *testing.T, near *pgxpool.Pool, seen *looks) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(near))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.Tracer = seen
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TraceQueryStart implements pgx.QueryTracer.
func (l *looks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, l.of) {
		l.n.Add(1)
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*looks) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Many who wait for results cost few statements: one reader looks for all of them.
func TestWaitersShareTheirLooks(t *testing.T) {
	t.Parallel()
	const n = 100
	near := newBed(t)
	seen := &looks{of: "strunk_results r ON"}
	b := bedOn(t, watchedPool(t, near.pool, seen), outbox.Config{})
	q := queue.DefineWithResult[note, string]("waited for", queue.Config{})
	ids := putMany(b, q.Queue, n)
	answers := make(chan error, n)
	for i, id := range ids {
		go func() {
			result, err := q.Wait(context.WithoutCancel(t.Context()), b.box, id)
			if want := fmt.Sprint("done ", i+1); err == nil && result != want {
				err = fmt.Errorf("task %d has the result %q; want %q", id, result, want)
			}
			answers <- err
		}()
	}
	eventually(t, "all wait", func() (string, bool) {
		waited := queue.WaitedFor(q, b.box)
		return fmt.Sprint(waited), waited == n
	})
	var began atomic.Int64
	release := make(chan struct{})
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) (string, error) {
		began.Add(1)
		<-release
		return "done " + task.Payload.Text, nil
	}, queue.Concurrency(n)))
	eventually(t, "all are handled", func() (string, bool) { return fmt.Sprint(began.Load()), began.Load() == n })
	seen.n.Store(0)
	close(release)
	for range ids {
		if err := receive(t, "all have their results", answers); err != nil {
			t.Error(err)
		}
	}
	if n := seen.n.Load(); n > int64(len(ids)/2) {
		t.Errorf("%d statements for the results of %d tasks that ended at once", n, len(ids))
	}
	eventually(t, "nobody waits", func() (string, bool) { return "", queue.WaitedFor(q, b.box) == 0 })
}
