//go:build slow

package outbox_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// TestMigrateTenMillionRows migrates a table of 10 million delivered tasks from the first version to the last and builds two
// more indexes on it, while tasks are enqueued and delivered: they never stand still for longer than a lock timeout. Run it
// with
//
//	go test ./outbox -tags slow -run TestMigrateTenMillionRows -v -timeout 30m
func TestMigrateTenMillionRows(t *testing.T) {
	pool := outboxtest.Empty(t, outboxtest.MaxConns(8))
	if err := outbox.MigrateTo(t.Context(), pool, 1); err != nil {
		t.Fatal(err)
	}
	for days := 1; days <= 5; days++ {
		oldDay(t, pool, days, 1_000_000, "a", "b")
	}
	mustExec(t, pool, `CREATE TABLE public.done (n integer)`)
	ctx, stop := context.WithCancel(t.Context())
	var writes, longest atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- write(ctx, pool, &writes, &longest) }()

	began := time.Now()
	if err := outbox.MigrateMore(t.Context(), pool, onlineUp, onlineDown); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if differences, err := outbox.CheckMore(t.Context(), pool, onlineUp, onlineDown); err != nil || len(differences) > 0 {
		t.Errorf("what was made differs: %v, %v", differences, err)
	}
	if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE key IN ('a', 'b')`); n != 10_000_000 {
		t.Errorf("%d rows; want 10,000,000", n)
	}
	if stall := time.Duration(longest.Load()); stall > outbox.MigrationPatience {
		t.Errorf("writers stood still for %v, longer than a lock timeout of %v", stall, outbox.MigrationPatience)
	}
	t.Logf("10,000,000 rows migrated in %v; meanwhile %d writes, the longest took %v", took.Round(time.Millisecond), writes.Load(), time.Duration(longest.Load()).Round(time.Millisecond))
}

// write enqueues a task and delivers one, again and again.
func write(ctx context.Context, pool *pgxpool.Pool, writes, longest *atomic.Int64) error {
	for ctx.Err() == nil {
		began := time.Now()
		_, err := pool.Exec(context.WithoutCancel(ctx), `WITH e AS (SELECT public.strunk_enqueue('q') AS id)
			INSERT INTO public.strunk_outbox_delivered_tasks (id, seq, created_at, finished_at, status, kind, key, payload)
			SELECT e.id, 0, clock_timestamp(), clock_timestamp(), 'delivered', 'task', 'q', '{}' FROM e`)
		if err != nil {
			return fmt.Errorf("a write during the migration: %w", err)
		}
		writes.Add(1)
		longest.Store(max(longest.Load(), int64(time.Since(began))))
	}
	return nil
}
