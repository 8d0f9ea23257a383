package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// exact is a queue worked by processes of their own, whose handlers run until the test lets them end.
type exact struct {
	*bed
	q *queue.Queue[note]
}

func newExact(t *testing.T, processes, concurrency int) *exact {
	t.Helper()
	b := newBed(t)
	b.exec(`CREATE TABLE public.runs (task bigint PRIMARY KEY, key text NOT NULL, finish boolean NOT NULL
		DEFAULT false, ended boolean NOT NULL DEFAULT false)`)
	e := &exact{bed: b, q: queue.Define[note]("exact", queue.Config{})}
	for range processes {
		c := faults.Spawn(t, "exact", "CHILD_DSN="+outboxtest.DSN(b.pool),
			fmt.Sprint("CHILD_CONCURRENCY=", concurrency))
		c.Await(t, "up", soon)
	}
	return e
}

// childExact is a process that works the queue. Tasks of the key "probe" end at once.
func childExact() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	var concurrency int
	must(json.Unmarshal([]byte(os.Getenv("CHILD_CONCURRENCY")), &concurrency))
	q := queue.Define[note]("exact", queue.Config{Retry: atOnce})
	fmt.Println("up")
	must(box.Run(ctx, q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		if task.CustomerKey == "probe" {
			return nil
		}
		if _, err := pool.Exec(ctx, `INSERT INTO public.runs (task, key) VALUES ($1,
			$2)`, task.ID, task.CustomerKey); err != nil {
			return err
		}
		for finish := false; !finish; {
			time.Sleep(5 * time.Millisecond)
			if err := pool.QueryRow(ctx, `UPDATE public.runs SET ended = finish WHERE task = $1 RETURNING
				finish`, task.ID).Scan(&finish); err != nil {
				return err
			}
		}
		return nil
	}, queue.Concurrency(concurrency))))
}

// begun counts the handlers of a key that run.
func (e *exact) begun(key string) int {
	e.t.Helper()
	return value[int](e.bed, `SELECT count(*) FROM public.runs WHERE key = $1 AND NOT ended`, key)
}

// running counts the tasks of a key from their claim on, as limits do.
func (e *exact) running(key string) int {
	e.t.Helper()
	return value[int](e.bed, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'claimed'
		AND customer_key = $1`, key)
}

// lower lets tasks of a key end until n run, and checks that none begins meanwhile.
func (e *exact) lower(why, key string, n int) {
	e.t.Helper()
	for before := e.running(key); before > n; {
		e.finish(key, 1)
		e.probe()
		now := e.running(key)
		if now != before-1 {
			e.t.Errorf("%s: one of %d has ended, and %d run; want one less, for the limit is %d", why, before, now, n)
		}
		before = now
	}
	e.is(why, key, n)
}

// is waits until n tasks of a key run, and checks that no more begin.
func (e *exact) is(why, key string, n int) {
	e.t.Helper()
	eventually(e.t, fmt.Sprintf("%s: %d tasks of %s run", why, n, key), func() (string, bool) {
		got := e.running(key)
		return fmt.Sprint(got), got == n
	})
	e.probe()
	if got := e.running(key); got != n {
		e.t.Errorf("%s: %d tasks of %s run; want %d and no more", why, got, key, n)
	}
}

// probe has the workers claim: what they could have claimed before, they have.
func (e *exact) probe() {
	e.t.Helper()
	for range 2 {
		for _, id := range putKeys(e.bed, e.q, "probe", "probe") {
			reach(e.bed, e.q, id, queue.StatusDelivered)
		}
	}
}

// finish lets n tasks of a key end, and waits until they are delivered.
func (e *exact) finish(key string, n int) {
	e.t.Helper()
	before := value[int](e.bed, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
		AND customer_key = $1`, key)
	e.exec(`UPDATE public.runs SET finish = true WHERE task IN (SELECT task FROM public.runs WHERE key = $1
		AND NOT finish ORDER BY task LIMIT $2)`, key, n)
	eventually(e.t, fmt.Sprintf("%d tasks of %s have ended", n, key), func() (string, bool) {
		got := value[int](e.bed, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
			AND customer_key = $1`, key)
		return fmt.Sprint(got), got == before+n
	})
}

func (e *exact) set(l queue.Limits) {
	e.t.Helper()
	if err := e.q.SetLimits(context.Background(), e.box, l); err != nil {
		e.t.Fatal(err)
	}
}

// A change of limits counts what runs already, in whatever process, and lets nothing begin above it.
func TestLimitsSetWhileRunningAreExact(t *testing.T) {
	t.Parallel()
	t.Run("of a key", func(t *testing.T) {
		t.Parallel()
		e := newExact(t, 3, 4)
		putKeys(e.bed, e.q, repeated("k", 60)...)
		eventually(t, "all handlers run", func() (string, bool) { n := e.begun("k"); return fmt.Sprint(n), n == 12 })
		e.set(queue.Limits{RunningPerKey: 5})
		e.lower("set", "k", 5)
		e.finish("k", 2)
		e.is("set, and two have ended", "k", 5)
		e.set(queue.Limits{RunningPerKey: 7})
		e.is("raised", "k", 7)
		e.set(queue.Limits{RunningPerKey: 3})
		e.lower("lowered", "k", 3)
		e.set(queue.Limits{FIFO: true})
		e.lower("in order", "k", 1)
		e.finish("k", 1)
		e.is("in order, and one has ended", "k", 1)
		e.set(queue.Limits{})
		eventually(t, "all handlers of a process run again",
			func() (string, bool) { n := e.begun("k"); return fmt.Sprint(n), n >= 4 })
	})
	t.Run("of the queue", func(t *testing.T) {
		t.Parallel()
		e := newExact(t, 3, 4)
		putKeys(e.bed, e.q, repeated("k", 40)...)
		eventually(t, "all handlers run", func() (string, bool) { n := e.begun("k"); return fmt.Sprint(n), n == 12 })
		e.set(queue.Limits{Running: 5})
		for before := e.running("k"); before > 5; before-- {
			e.finish("k", 1)
			if now := e.running("k"); now != max(5, before-1) {
				t.Errorf("one of %d has ended, and %d run", before, now)
			}
		}
		for range 10 {
			e.finish("k", 1)
			eventually(t, "as many as the limit run", func() (string, bool) {
				n := e.running("k")
				if n > 5 {
					t.Errorf("%d run; want 5", n)
				}
				return fmt.Sprint(n), n == 5
			})
		}
	})
	t.Run("with claims by hand", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("exact-hand", queue.Config{})
		putKeys(b, q, repeated("k", 30)...)
		first, _ := claimIDs(b, q)
		if err := q.SetLimits(t.Context(), b.box, queue.Limits{RunningPerKey: 12}); err != nil {
			t.Fatal(err)
		}
		second, got := claimIDs(b, q)
		if len(first.Tasks) != 10 || len(got) != 2 {
			t.Fatalf("the claims have %d and %d tasks; want 10 and 2", len(first.Tasks), len(got))
		}
		if err := first.Complete(t.Context(), first.Tasks[0].ID); err != nil {
			t.Fatal(err)
		}
		third, got := claimIDs(b, q)
		if len(got) != 1 {
			t.Errorf("after one has ended a claim has %v; want one task", got)
		}
		for _, c := range []*queue.Claim[note]{first, second, third} {
			if err := c.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE slot IS NOT NULL`); n != 0 {
			t.Errorf("%d slots are taken after all claims were released", n)
		}
	})
	t.Run("while a claim is under way", func(t *testing.T) {
		t.Parallel()
		for _, claim := range []string{
			`SELECT public.strunk_claim(1, 1, 'under-way', 10, array_fill(0::bigint, ARRAY[10]), NULL, 0)`,
			`SELECT public.strunk_lock_admission('under-way')`,
		} {
			b := newBed(t)
			b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1,
				30000, 1, 10, 'under-way', 'h')`)
			tx := begin(b, pgx.ReadCommitted)
			if _, err := tx.Pgx().Exec(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
			set := make(chan error, 1)
			go func() {
				_, err := b.pool.Exec(context.Background(), `SELECT public.strunk_set_limits('under-way',
					running => 1)`)
				set <- err
			}()
			eventually(t, "the change waits for the claim", func() (string, bool) {
				n := value[int](b, `SELECT count(*) FROM pg_stat_activity
					WHERE $1 = ANY (pg_blocking_pids(pid))`, tx.Pgx().Conn().PgConn().PID())
				return fmt.Sprint(n), n > 0
			})
			if err := tx.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := <-set; err != nil {
				t.Errorf("the change after %s: %v", claim, err)
			}
		}
	})
	t.Run("by a claim under other limits", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("other-limits", queue.Config{})
		put(b, q, note{"a"})
		b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 30000,
			1, 10, 'other-limits', 'h')`)
		refused := func(when string, version int64) {
			t.Helper()
			_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_claim(1, 1, 'other-limits', 10,
				array_fill(0::bigint, ARRAY[10]), NULL, $1)`, version)
			if pgErr := (*pgconn.PgError)(nil); !errors.As(err, &pgErr) || pgErr.Code != core.CodeLimitsChanged {
				t.Errorf("%s a claim under version %d: %v; want %s", when, version, err, core.CodeLimitsChanged)
			}
		}
		version := `SELECT version FROM public.strunk_limits WHERE queue = 'other-limits'`
		refused("without limits", 1)
		b.exec(`SELECT public.strunk_set_limits('other-limits', running => 1)`)
		first := value[int64](b, version)
		refused("with limits", 0)
		b.exec(`SELECT public.strunk_set_limits('other-limits', running => 2)`)
		refused("after a change", first)
		refused("before a change", value[int64](b, version)+1)
		b.exec(`SELECT public.strunk_set_limits('other-limits')`)
		refused("without limits again", first)
		if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending'`); n != 1 {
			t.Errorf("%d tasks wait; want the one that no claim took", n)
		}
	})
	t.Run("with a rate that is corrected", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("corrected", queue.Config{Retry: atOnce,
			Limits: queue.Limits{FIFO: true, RatePerKey: queue.Rate{Count: 1, Per: 30 * 24 * time.Hour}}})
		ids := putKeys(b, q, "k", "k", "k")
		var order []int64
		b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { // one at a time
			if order = append(order, task.ID); task.Attempt == 1 && task.ID == ids[0] {
				return fmt.Errorf("again")
			}
			return nil
		}, queue.PollInterval(time.Hour)))
		eventually(t, "the first waits for another attempt", func() (string, bool) {
			rec := get(b, q, ids[0])
			return fmt.Sprint(rec.Status, rec.Attempt), rec.Status == queue.StatusPending && rec.Attempt == 1
		})
		if err := q.SetLimits(t.Context(), b.box, queue.Limits{FIFO: true,
			RatePerKey: queue.Rate{Count: 1000, Per: time.Second}}); err != nil {
			t.Fatal(err)
		}
		reach(b, q, ids[2], queue.StatusDelivered)
		if want := []int64{ids[0], ids[0], ids[1], ids[2]}; !slices.Equal(order, want) {
			t.Errorf("they ran as %v; want %v", order, want)
		}
	})
	t.Run("with an old release that starts last", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		start := func(l queue.Limits) queue.Limits {
			t.Helper()
			q := queue.Define[note]("releases", queue.Config{Limits: l})
			stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
			defer stop()
			reach(b, q, put(b, q, note{}), queue.StatusDelivered)
			got, err := q.Limits(t.Context(), b.box)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		none, old, release := queue.Limits{}, queue.Limits{Running: 2}, queue.Limits{RunningPerKey: 4}
		back := old
		back.Version = 1
		for _, step := range []struct {
			why               string
			declared, inForce queue.Limits
		}{
			{"the first declares none", none, none},
			{"the second is new", old, old},
			{"the third is new", release, release},
			{"the second starts again", old, release},
			{"the first starts again", none, release},
			{"the second is declared anew", back, old},
			{"the third starts again", release, old},
		} {
			if got := start(step.declared); got != step.inForce {
				t.Errorf("%s: limits %+v are in force; want %+v", step.why, got, step.inForce)
			}
		}
	})
}

// A claim of a queue with rates keeps its worker's lease from being taken away before it is
// committed, as a plain claim does.
func TestRatedClaimHoldsItsLease(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("rated-lease", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('rated-lease', rate => 1000, rate_per => '1 second')`)
	id := put(b, q, note{"a"})
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 30000, 1,
		10, 'rated-lease', 'h')`)
	const claim = `SELECT id FROM public.strunk_claim_rated(1, $1, 'rated-lease', 10, array_fill(0::bigint,
		ARRAY[10]), NULL,
		(SELECT version FROM public.strunk_limits WHERE queue = 'rated-lease'))`
	tx := begin(b, pgx.ReadCommitted)
	var got int64
	if err := tx.Pgx().QueryRow(t.Context(), claim, 1).Scan(&got); err != nil || got != id {
		t.Fatal(got, err)
	}
	gone := make(chan error, 1)
	go func() {
		_, err := b.pool.Exec(context.Background(), `SELECT public.strunk_expire_lease(1, NULL)`)
		gone <- err
	}()
	eventually(t, "the lease's end waits for the claim", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM pg_stat_activity
			WHERE $1 = ANY (pg_blocking_pids(pid))`, tx.Pgx().Conn().PgConn().PID())
		return fmt.Sprint(n), n > 0
	})
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), claim, 2); err == nil {
		t.Error("a claim without a lease was not refused")
	}
}
