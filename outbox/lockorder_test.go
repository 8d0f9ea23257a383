package outbox_test

import (
	"context"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// fill enqueues tasks for a worker of its own, 1, and returns their ids, in order.
func fill(t *testing.T, pool *pgxpool.Pool, n int) []int64 {
	t.Helper()
	mustExec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host, heartbeat)
		VALUES (1, 60000, 1, 1, 'q', 'here', 5)`)
	mustExec(t, pool, `SELECT public.strunk_enqueue('q') FROM generate_series(1, $1)`, n)
	return query[[]int64](t, pool, `SELECT array_agg(id ORDER BY id) FROM public.strunk_outbox`)
}

// claim gives a task to worker 1 under a claim number.
func claim(t *testing.T, pool *pgxpool.Pool, task int64, number int) {
	t.Helper()
	mustExec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = 1, claim_no = $2,
		attempts = 1, claimed_at = clock_timestamp() WHERE id = $1`, task, number)
}

// waiting begins a statement and waits until it waits for a lock. done tells its end. Functions that
// give up after their lock_timeout are called again.
func waiting(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (done <-chan error) {
	t.Helper()
	conn, err := pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		defer conn.Release()
		_, err := conn.Exec(context.Background(), sql, args...)
		for core.SQLState(err) == pgerrcode.LockNotAvailable {
			_, err = conn.Exec(context.Background(), sql, args...)
		}
		ended <- err
	}()
	testkit.Eventually(t, "it waits for a lock: "+sql, func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it did not wait (%v): %s", err, sql)
		default:
		}
		return query[bool](t, pool, `SELECT cardinality(pg_blocking_pids($1)) > 0`, conn.Conn().PgConn().PID())
	})
	return ended
}

// The tasks of a lost worker, and those of a lost claim, are locked in the order of their ids, as
// completions lock them: neither ever waits for the other in a circle. The statement orders them,
// whatever index they are read by, and whatever their order in the table and in the claims.
func TestTasksAreGivenBackInTheOrderOfTheirIDs(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"the rescue":   `SELECT count(*) FROM public.strunk_rescue(1, 1000)`,
		"a lost claim": `SELECT count(*) FROM public.strunk_return_claims(1, ARRAY[1, 2, 3])`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			pool := outboxtest.New(t)
			ids := fill(t, pool, 3)
			for i, number := range []int{1, 2, 3} {
				claim(t, pool, ids[2-i], number)
			}
			mustExec(t, pool, `SELECT public.strunk_expire_lease(1, NULL)`)
			mustExec(t, pool, `DROP INDEX public.strunk_outbox_tasks_id`)
			holder, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Rollback(ctx) }()
			const lock = `SELECT 1 FROM public.strunk_outbox_tasks WHERE id = $1 FOR UPDATE`
			if _, err := holder.Exec(ctx, lock, ids[1]); err != nil {
				t.Fatal(err)
			}
			done := waiting(t, pool, sql)
			if _, err := holder.Exec(ctx, lock+` NOWAIT`, ids[2]); err != nil {
				t.Errorf("it waits for the second task and has locked the third: %v", err)
			}
			if err := holder.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// Of more due tasks than one transaction makes pending, the longest due come first, whatever index
// they are read by.
func TestTheLongestDueIsPromotedFirst(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	mustExec(t, pool, `SELECT public.strunk_enqueue('q', due_at => now() + interval '1 day')
		FROM generate_series(1, 3)`)
	mustExec(t, pool, `UPDATE public.strunk_outbox_tasks t SET due_at = now() - n.n * interval '1 hour'
		FROM (SELECT o.id, row_number() OVER (ORDER BY o.id) AS n FROM public.strunk_outbox_tasks o) n
		WHERE n.id = t.id`)
	mustExec(t, pool, `DROP INDEX public.strunk_outbox_tasks_due`)
	for left := 3; left > 0; left-- {
		mustExec(t, pool, `SELECT count(*) FROM public.strunk_promote('-infinity', 1)`)
		pending := query[[]int](t, pool, `SELECT coalesce(array_agg(n.n::integer ORDER BY n.n), '{}') FROM (
			SELECT t.status, row_number() OVER (ORDER BY t.id) AS n FROM public.strunk_outbox_tasks t) n
			WHERE n.status = 'pending'`)
		if len(pending) != 4-left || pending[0] != left {
			t.Errorf("due since 1, 2 and 3 hours: those of %v hours are pending; want the %d longest due", pending,
				4-left)
		}
	}
}

// A worker says how far it starts its tasks, and its lease is taken: one waits for the other, as
// with a claim.
func TestStartsAndExpiryWaitForEachOther(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := outboxtest.New(t)
	fill(t, pool, 0)
	const starts = `SELECT public.strunk_allow_starts(1, 1, '{1,9,0}', '{1,9,0}', NULL, NULL)`
	holder, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(ctx) }()
	var held bool
	if err := holder.QueryRow(ctx, starts).Scan(&held); err != nil || !held {
		t.Fatalf("a worker with a lease: %v, %v; want true", held, err)
	}
	done := waiting(t, pool, `SELECT public.strunk_expire_lease(1, NULL)`)
	if err := holder.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if query[bool](t, pool, starts) {
		t.Error("a worker whose lease was taken may start tasks")
	}
}

// The rescue takes no lease whose heartbeat has moved since it was seen.
func TestExpiryNeedsTheHeartbeat(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	claim(t, pool, fill(t, pool, 1)[0], 1)
	box := openBox(t, pool, outbox.Config{})
	for _, seen := range []struct {
		heartbeat int64
		name      string
		workers   int
	}{{4, "an earlier one", 1}, {5, "the last one", 0}} {
		if err := outbox.TakeLease(t.Context(), box, 1, seen.heartbeat); err != nil {
			t.Fatal(err)
		}
		if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_workers WHERE NOT expired`); n != seen.workers {
			t.Errorf("%s was seen standing still: %d workers have a lease; want %d", seen.name, n, seen.workers)
		}
		if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox
			WHERE status = 'claimed'`); n != seen.workers {
			t.Errorf("%s was seen standing still: %d tasks are claimed; want %d", seen.name, n, seen.workers)
		}
	}
}

// A claim that is sent, and answered, between the question which claims a worker knows and the look
// at the table is the worker's: its tasks are not given back.
func TestClaimsAreLookedUpAgain(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	ids := fill(t, pool, 2)
	claim(t, pool, ids[0], 1)
	box := openBox(t, pool, outbox.Config{})
	asked := 0
	err := outbox.CompareClaims(t.Context(), box, 1, func() (low int64, known []int64) {
		if asked++; asked == 1 {
			claim(t, pool, ids[1], 2)
			return 0, []int64{}
		}
		return 0, []int64{2}
	})
	if err != nil {
		t.Fatal(err)
	}
	if lost, known := query[string](t, pool, `SELECT status FROM public.strunk_outbox WHERE id = $1`, ids[0]),
		query[string](t, pool, `SELECT status FROM public.strunk_outbox WHERE id = $1`, ids[1]); lost != "pending" ||
		known != "claimed" {
		t.Errorf("the task of a lost claim is %s, that of a known one %s; want pending and claimed", lost, known)
	}
}
