package outbox_test

import (
	"context"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// Somebody's open transaction on one task of a lost worker keeps that worker's rescue waiting, and
// nothing else: other lost workers are seen and rescued, and the loops beside go on.
func TestLockedTaskKeepsNoOtherWorkerFromRescue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := outboxtest.New(t)
	lose := func(worker int) (task int64) {
		t.Helper()
		_, err := pool.Exec(ctx, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue,
			host) VALUES ($1, 300, 1, 1, 'lost', 'gone')`, worker)
		if err == nil {
			_, err = pool.Exec(ctx, `SELECT public.strunk_enqueue('lost', '{}')`)
		}
		if err == nil {
			err = pool.QueryRow(ctx, `SELECT id FROM public.strunk_claim($1, 1, 'lost', 1, array_fill(0::bigint,
				ARRAY[10]), NULL)`, worker).Scan(&task)
		}
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	locked := lose(1)
	holder, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(ctx) }()
	if _, err := holder.Exec(ctx, `UPDATE public.strunk_outbox SET priority = 1 WHERE id = $1`, locked); err != nil {
		t.Fatal(err)
	}
	start(t, openBox(t, pool, outbox.Config{}))
	expired := func(worker int) (yes bool) {
		err := pool.QueryRow(ctx, `SELECT coalesce((SELECT expired FROM public.strunk_workers WHERE id = $1),
			true)`, worker).Scan(&yes)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	testkit.Eventually(t, "the first is expired", func() bool { return expired(1) })
	free := lose(2)
	status := func(task int64) (s string) {
		if err := pool.QueryRow(ctx, `SELECT status FROM public.strunk_outbox
			WHERE id = $1`, task).Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	testkit.Eventually(t, "the other worker's task is given back", func() bool { return status(free) == "pending" })
	if s := status(locked); s != "claimed" {
		t.Errorf("the locked task is %s before its lock has gone", s)
	}
	if err := holder.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the first worker's task is given back", func() bool { return status(locked) == "pending" })
}
