package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/queue"
)

// Somebody's lock on a task makes its key wait, and nothing else: skipping it would let the next one overtake it.
func TestFIFOLockedTaskIsNotOvertaken(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("locked", queue.Config{Limits: queue.Limits{FIFO: true}})
	ids := putKeys(b, q, "a", "a", "a")
	tx := begin(b, pgx.ReadCommitted)
	if _, err := tx.Pgx().Exec(t.Context(), `SELECT 1 FROM public.strunk_outbox WHERE id = $1 FOR
		UPDATE`, ids[0]); err != nil {
		t.Fatal(err)
	}
	record := newRecord()
	b.run(q.Worker(record.handle))
	for i := range 3 {
		reach(b, q, putKeys(b, q, fmt.Sprint("other-", i))[0], queue.StatusDelivered)
	}
	if err := tx.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	reach(b, q, ids[2], queue.StatusDelivered)
	record.check(t, map[string][]int64{"a": ids})
}

// The next task of a key is admitted when one has ended, not by a poll.
func TestFIFOGoesOnWithoutPolling(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]queue.Limits{"in order": {FIFO: true}, "by number": {RunningPerKey: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("chain", queue.Config{Retry: atOnce, Limits: limits})
			ids := putKeys(b, q, repeated("a", 30)...)
			b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
				switch {
				case task.ID == ids[3] && task.Attempt == 1:
					return fmt.Errorf("again")
				case task.ID == ids[5]:
					return queue.Discard("gone")
				}
				return nil
			}, queue.PollInterval(time.Hour)))
			eventually(t, "all have ended", func() (string, bool) {
				c := b.counts(q.Name())
				return fmt.Sprint(c), c[queue.StatusDelivered] == 29 && c[queue.StatusDiscarded] == 1
			})
		})
	}
}

// A worker that stops leaves its keys to the others at once.
func TestFIFOStoppedWorkerLeavesNoKeyWaiting(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("leave", queue.Config{Limits: queue.Limits{FIFO: true}})
	ids := putKeys(b, q, "a", "a")
	began, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	stop := b.runUntil(ctx, cancel, q.Worker(func(context.Context, queue.Task[note]) error {
		close(began)
		<-release
		return nil
	}, queue.Concurrency(1), queue.PollInterval(time.Hour)))
	receive(t, "the first task runs", began)
	eventually(t, "the second waits in the backlog of its key", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending' AND NOT admitted`)
		if n == 0 {
			putKeys(b, q, "b") // something to claim for
		}
		return fmt.Sprint(n), n == 1
	})
	cancel()
	close(release) // after the soft end
	stop()
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE NOT admitted`); n != 0 {
		t.Errorf("%d tasks wait that nobody has admitted", n)
	}
	if rec := get(b, q, ids[1]); rec.Status != queue.StatusPending {
		t.Errorf("the next task of the key is %s; want pending", rec.Status)
	}
}

// A loop of the caller's own is limited as workers are.
func TestHandMadeClaimsObeyLimits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	fifo := queue.Define[note]("hand-fifo", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('hand-fifo', fifo => true)`)
	ids := putKeys(b, fifo, "a", "a", "b", "a")
	var order []int64
	for range 4 {
		c, err := fifo.Claim(t.Context(), b.box, 10)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		for _, task := range c.Tasks {
			if keys[task.CustomerKey] {
				t.Errorf("two tasks of key %s in one claim", task.CustomerKey)
			}
			keys[task.CustomerKey] = true
			order = append(order, task.ID)
		}
		if other, err := fifo.Claim(t.Context(), b.box, 10); err != nil || len(other.Tasks) != 0 {
			t.Errorf("a second claim has %d tasks, %v; want none while the first holds the turns", len(other.Tasks),
				err)
		}
		for _, task := range c.Tasks {
			if err := c.Complete(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int64{ids[0], ids[2], ids[1], ids[3]}; !slices.Equal(order, want) {
		t.Errorf("claimed in the order %v; want %v", order, want)
	}

	few := queue.Define[note]("hand-few", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('hand-few', running => 3)`)
	putMany(b, few, 10)
	first, err := few.Claim(t.Context(), b.box, 2)
	if err != nil || len(first.Tasks) != 2 {
		t.Fatal(len(first.Tasks), err)
	}
	second, err := few.Claim(t.Context(), b.box, 2)
	if err != nil || len(second.Tasks) != 1 {
		t.Errorf("a second claim has %d tasks, %v; want the one that is left of three", len(second.Tasks), err)
	}
	if third, err := few.Claim(t.Context(), b.box, 2); err != nil || len(third.Tasks) != 0 {
		t.Errorf("a third claim has %d tasks, %v; want none", len(third.Tasks), err)
	}
	for _, c := range []*queue.Claim[note]{first, second} {
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if third, err := few.Claim(t.Context(), b.box, 5); err != nil || len(third.Tasks) != 3 {
		t.Errorf("after the releases a claim has %d tasks, %v; want three", len(third.Tasks), err)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`SELECT public.strunk_set_limits('quotas', running => 10)`)
	worker := func(id, concurrency int) {
		b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES ($1,
			30000, 1, $2, 'quotas', 'h')`, id, concurrency)
	}
	ask := func(id, using, wants, want int, why string) {
		t.Helper()
		if got := value[int](b, `SELECT public.strunk_take_quota($1, 'quotas', $2,
			$3)`, id, using, wants); got != want {
			t.Errorf("worker %d, using %d of a wish for %d, has a quota of %d; want %d: %s", id, using, wants, got,
				want, why)
		}
		limit := value[int](b, `SELECT coalesce((SELECT running FROM public.strunk_limits
			WHERE queue = 'quotas'), 1000000)`)
		// a lowered limit is kept later
		if sum := value[int](b, `SELECT sum(quota) FROM public.strunk_workers`); sum > limit && limit >= 10 {
			t.Errorf("the quotas add up to %d, more than %d: %s", sum, limit, why)
		}
	}
	worker(1, 20)
	ask(1, 0, 20, 10, "alone it has all")
	worker(2, 20)
	ask(2, 0, 20, 0, "nothing is free yet")
	ask(1, 8, 20, 8, "it gives back what it does not use, down to its even part")
	ask(2, 0, 20, 2, "what is free")
	ask(1, 3, 20, 5, "its even part")
	ask(2, 2, 20, 5, "its even part")
	worker(3, 1)
	ask(3, 0, 1, 0, "nothing is free")
	ask(1, 5, 20, 5, "it uses all it has")
	ask(1, 2, 20, 4, "an even part is 4 for the first, and the third is short of one")
	ask(3, 0, 1, 1, "it wants no more")
	ask(2, 0, 20, 5, "beyond its even part, as nobody is short")
	b.exec(`UPDATE public.strunk_workers SET expired = true WHERE id = 1`)
	ask(2, 5, 20, 5, "a lost worker's quota counts until its tasks have been given back")
	ask(1, 0, 20, 0, "a lost worker gets none")
	b.exec(`DELETE FROM public.strunk_workers WHERE id = 1`)
	ask(2, 5, 20, 9, "then it is free")
	ask(2, 3, 0, 3, "one that stops keeps what it uses")
	b.exec(`SELECT public.strunk_set_limits('quotas', running => 2)`)
	ask(2, 3, 20, 3, "a lowered limit ends nothing")
	ask(2, 1, 20, 1, "but is kept as soon as it can be")
	b.exec(`SELECT public.strunk_set_limits('quotas', running => 0)`)
	ask(2, 0, 20, 0, "nothing may run")
	b.exec(`SELECT public.strunk_set_limits('quotas')`)
	if n := value[*int](b, `SELECT public.strunk_take_quota(2, 'quotas', 0, 5)`); n != nil {
		t.Errorf("a quota of %d where there is no limit", *n)
	}
}

// A task that a person sets to pending becomes pending then, as one that has become due: behind what waits of its key.
func TestFIFOTaskPutBackByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("by-hand", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('by-hand', fifo => true)`)
	id := put(b, q, note{"a"}, queue.CustomerKey("a"), queue.Delay(time.Hour))
	putKeys(b, q, "a")
	first := value[int64](b, `SELECT id FROM public.strunk_outbox WHERE status = 'pending'`)
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending' WHERE id = $1`, id)
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 30000, 1,
		10, 'by-hand', 'h')`)
	for i, want := range []int64{first, id} {
		b.exec(`SELECT public.strunk_sweep_backlog('by-hand', NULL, 10)`)
		got := value[[]int64](b, `SELECT array_agg(id) FROM public.strunk_claim(1, $1, 'by-hand', 10,
			array_fill(0::bigint, ARRAY[10]), NULL,
			(SELECT version FROM public.strunk_limits WHERE queue = 'by-hand'))`, i+1)
		if !slices.Equal(got, []int64{want}) {
			t.Errorf("claim %d took %v; want %d alone", i+1, got, want)
		}
		b.exec(`SELECT public.strunk_complete(1, $1::bigint[], ARRAY[$2::bigint], true)`, got, i+1)
	}
}

// One admission looks at so much and no more, however many older tasks of lower priority wait
// before the urgent ones of their keys.
func TestClaimOfUrgentTasksIsBounded(t *testing.T) {
	t.Parallel()
	const keys, old = 60, 80
	b := newBed(t)
	q := queue.Define[note]("urgent", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('urgent', fifo => true)`)
	var all []string
	for i := range keys * old {
		all = append(all, fmt.Sprint("key-", i%keys))
	}
	ids := putKeys(b, q, all...)
	for i := range keys {
		put(b, q, note{}, queue.CustomerKey(fmt.Sprint("key-", i)), queue.Priority(9))
	}
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 30000, 1,
		1000, 'urgent', 'h')`)
	looked := value[int](b, `SELECT arrived FROM public.strunk_admit('urgent', (SELECT version
		FROM public.strunk_limits WHERE queue = 'urgent'),
		'{}', 0, NULL, 1000, 0, 0, 0)`)
	claimed := value[[]int64](b, `SELECT array_agg(id ORDER BY id) FROM public.strunk_claim(1, 1, 'urgent',
		1000, array_fill(0::bigint, ARRAY[10]), NULL,
		(SELECT version FROM public.strunk_limits WHERE queue = 'urgent'))`)
	if !slices.Equal(claimed, ids[:keys]) {
		t.Errorf("%d tasks were claimed; want the oldest of each of the %d keys", len(claimed), keys)
	}
	if looked == 0 || looked >= keys*old {
		t.Errorf("one admission has looked at %d tasks; want some, and a bounded number", looked)
	}
	b.exec(`DELETE FROM public.strunk_workers`)
	b.exec(`UPDATE public.strunk_outbox_tasks SET status = 'pending', attempts = 0 WHERE status = 'claimed'`)
	record := newRecord()
	b.run(q.Worker(record.handle, queue.Concurrency(100)))
	eventually(t, "all are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == keys*(old+1)
	})
	want := map[string][]int64{}
	for i, id := range ids {
		want[all[i]] = append(want[all[i]], id)
	}
	record.mu.Lock()
	for key := range want { // the urgent ones come last in their keys: their numbers are the highest
		if n := len(record.order[key]); n == old+1 {
			record.order[key] = record.order[key][:old]
		}
	}
	record.mu.Unlock()
	record.check(t, want)
}
