package outbox_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// TestPublicationForAllTables publishes all tables, as change data capture does: each of strunk's
// tables and partitions, a later one too, has what an UPDATE or a DELETE of a published table
// needs. Check insists.
func TestPublicationForAllTables(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	mustExec(t, pool, `CREATE PUBLICATION cdc FOR ALL TABLES`)
	mustExec(t, pool, `SELECT public.strunk_ensure_task_partitions(10)`)
	mustExec(t, pool, `UPDATE public.strunk_feed SET head = head + 1000000`)
	mustExec(t, pool, `SELECT public.strunk_ensure_feed_partitions()`)
	without := query[[]string](t, pool, `SELECT coalesce(array_agg(c.relname::text ORDER BY 1), '{}')
		FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'strunk%' AND NOT EXISTS (
			SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
				AND (CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END))`)
	if len(without) > 0 {
		t.Errorf("without a primary key or a replica identity: %v", without)
	}
	mustExec(t, pool, `SELECT public.strunk_enqueue('q')`)
	mustExec(t, pool, `UPDATE public.strunk_outbox SET priority = 1`)
	mustExec(t, pool, `DELETE FROM public.strunk_outbox`)

	fresh := outboxtest.New(t)
	mustExec(t, fresh, `ALTER TABLE public.strunk_outbox_tasks REPLICA IDENTITY DEFAULT`)
	if found, err := outbox.Check(t.Context(), fresh, outbox.MigrateConfig{}); err != nil || len(found) != 1 {
		t.Errorf("Check of a table without a replica identity: %v, %v", found, err)
	}
}

// lostWorkers is a database with three workers that have claimed two tasks each.
func lostWorkers(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := outboxtest.New(t)
	for worker := 1; worker <= 3; worker++ {
		mustExec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, quota, queue, host)
			VALUES ($1, 30000, 1, 1, 2, 'lost', 'gone')`, worker)
		mustExec(t, pool, `SELECT public.strunk_enqueue('lost') FROM generate_series(1, 2)`)
		mustExec(t, pool, `SELECT id FROM public.strunk_claim($1, 1, 'lost', 2, array_fill(0::bigint,
			ARRAY[10]), NULL)`, worker)
	}
	return pool
}

// TestOrphanedClaimsAreRescued removes the rows of workers whose tasks are claimed.
func TestOrphanedClaimsAreRescued(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]string{
		"deleted": `DELETE FROM public.strunk_workers WHERE id > 1`,
		"past the triggers": `SET session_replication_role = replica; DELETE FROM public.strunk_workers WHERE id > 1;
			RESET session_replication_role`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := lostWorkers(t)
			if _, err := pool.Exec(t.Context(), remove, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
			start(t, openBox(t, pool, outbox.Config{}))
			testkit.Eventually(t, "the tasks without a worker are given back", func() bool {
				return query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending'`) == 4
			})
			if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'claimed'
				AND worker_id = 1`); n != 2 {
				t.Errorf("%d tasks of the worker whose lease lasts are still claimed; want 2", n)
			}
			testkit.Eventually(t, "no row is left of the deleted workers", func() bool {
				return query[int](t, pool, `SELECT count(*) FROM public.strunk_workers`) == 1
			})
		})
	}
}

// A worker whose row is deleted has lost its lease, and its quota is nobody's until its tasks have been given back: no
// more than the limit are claimed at once.
func TestDeletedWorkerKeepsItsQuota(t *testing.T) {
	t.Parallel()
	pool := lostWorkers(t)
	mustExec(t, pool, `SELECT public.strunk_set_limits('lost', running => 6)`)
	mustExec(t, pool, `DELETE FROM public.strunk_workers`)
	if got := query[string](t, pool, `SELECT concat(count(*), ' expired: ', bool_and(expired), ', quota ', sum(quota))
		FROM public.strunk_workers`); got != "3 expired: t, quota 6" {
		t.Errorf("after a DELETE of their rows, workers with claimed tasks: %s; want all, with their quota", got)
	}
	mustExec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
		VALUES (4, 30000, 1, 10, 'lost', 'here')`)
	take := func(what string, want int) {
		t.Helper()
		if got := query[int](t, pool, `SELECT public.strunk_take_quota(4, 'lost', 0, 10)`); got != want {
			t.Errorf("%s the next worker's quota is %d; want %d", what, got, want)
		}
	}
	take("while the tasks of lost workers are claimed", 0)
	for range 2 { // the second one finds no task, and removes the row
		mustExec(t, pool, `SELECT public.strunk_rescue(1, 100)`)
	}
	take("when those of one have been given back", 2)
	mustExec(t, pool, `UPDATE public.strunk_outbox SET status = 'pending' WHERE status = 'claimed'`)
	mustExec(t, pool, `DELETE FROM public.strunk_workers WHERE id < 4`)
	take("when none is claimed", 6)
}

// TestMissingSingletons empties all of strunk's tables but the record of migrations: events are
// published and relayed again.
func TestMissingSingletons(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	mustExec(t, pool, `DO $$ DECLARE v_table regclass; BEGIN
		FOR v_table IN SELECT c.oid::regclass FROM pg_catalog.pg_class c WHERE c.relnamespace = 'public'::regnamespace
			AND c.relkind IN ('r', 'p') AND c.relname LIKE 'strunk%' AND c.relname <> 'strunk_migrations'
		LOOP EXECUTE format('TRUNCATE %s', v_table); END LOOP; END $$`)
	box := openBox(t, pool, outbox.Config{})
	start(t, box)
	numbers := events.Define("number", func(n int) string { return "one" }, events.Config{})
	if err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := numbers.Publish(context.WithoutCancel(t.Context()), tx, 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the event is in the feed", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
			AND kind = 'event' AND position = 1`) == 1
	})
	if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_feed_floor`); n != 1 {
		t.Errorf("%d rows of the floor; want 1", n)
	}
}
