package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// Limits that are removed leave nothing behind in a backlog, however long it is.
func TestRemovedLimitsLeaveNoBacklog(t *testing.T) {
	t.Parallel()
	const n = 2500
	b := newBed(t)
	q := queue.Define[note]("removed", queue.Config{Limits: queue.Limits{FIFO: true}})
	putKeys(b, q, repeated("a", n)...)
	release := make(chan struct{})
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { <-release; return nil }))
	eventually(t, "all but one wait", func() (string, bool) {
		got := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending' AND NOT admitted`)
		return fmt.Sprint(got), got == n-1
	})
	b.exec(`SELECT public.strunk_set_limits('removed')`)
	close(release)
	eventually(t, "all are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == n
	})
}

// claimIDs claims by hand and returns the claim with the ids of what it got.
func claimIDs(b *bed, q *queue.Queue[note]) (*queue.Claim[note], []int64) {
	b.t.Helper()
	c, err := q.Claim(context.Background(), b.box, 10)
	if err != nil {
		b.t.Fatal(err)
	}
	var ids []int64
	for _, task := range c.Tasks {
		ids = append(ids, task.ID)
	}
	return c, ids
}

func wantIDs(t *testing.T, what string, got []int64, want ...int64) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: claimed %v; want %v", what, got, want)
	}
}

// A task in the backlog of its key that a person sets to pending stays there, and runs once.
func TestFIFOBacklogSetToPendingByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("by-hand-pending", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('by-hand-pending', fifo => true)`)
	ids := putKeys(b, q, "a", "a", "a")
	first, got := claimIDs(b, q)
	wantIDs(t, "the first", got, ids[0])
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`, ids[1])
	_, got = claimIDs(b, q)
	wantIDs(t, "while the first runs", got)
	if err := first.Complete(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	second, got := claimIDs(b, q)
	wantIDs(t, "the second", got, ids[1])
	if err := second.Complete(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	_, got = claimIDs(b, q)
	wantIDs(t, "the third", got, ids[2])
}

// A dead letter that has kept its key's slot has it no more when, after a change of limits, another has taken it.
func TestHeldDeadLetterWhoseSlotIsTaken(t *testing.T) {
	t.Parallel()
	for name, retry := range map[string]string{
		"retried":        `SELECT count(*) FROM public.strunk_retry_ended(ARRAY[$1::bigint])`,
		"set to pending": `UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("held", queue.Config{})
			b.exec(`SELECT public.strunk_set_limits('held', fifo => true, hold_dead => true)`)
			ids := putKeys(b, q, "a", "a")
			c, got := claimIDs(b, q)
			wantIDs(t, "the first", got, ids[0])
			if err := c.Fail(t.Context(), ids[0], fmt.Errorf("no: %w", queue.ErrPoison)); err != nil {
				t.Fatal(err)
			}
			b.exec(`SELECT public.strunk_set_limits('held', fifo => true)`)
			b.exec(`SELECT public.strunk_sweep_backlog('held', NULL, 10)`)
			c, got = claimIDs(b, q)
			wantIDs(t, "the second", got, ids[1])
			b.exec(retry, ids[0])
			_, got = claimIDs(b, q)
			wantIDs(t, "while the second runs", got)
			if err := c.Complete(t.Context(), ids[1]); err != nil {
				t.Fatal(err)
			}
			_, got = claimIDs(b, q)
			wantIDs(t, "after it", got, ids[0])
		})
	}
}

// A rate that is raised holds at once: what was used up under the old one does not count for longer than under the new.
func TestRateRaised(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"rate", "key_rate"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("raised", queue.Config{})
			b.exec(fmt.Sprintf(`SELECT public.strunk_set_limits('raised', %[1]s => 1, %[1]s_per => '1 hour',
				%[1]s_burst => 2)`, kind))
			ids := putKeys(b, q, "a", "a", "a")
			_, got := claimIDs(b, q)
			wantIDs(t, "a burst", got, ids[0], ids[1])
			b.exec(fmt.Sprintf(`SELECT public.strunk_set_limits('raised', %[1]s => 100, %[1]s_per =>
				'1 second')`, kind))
			eventually(t, "the third is claimed", func() (string, bool) {
				b.exec(`SELECT public.strunk_sweep_backlog('raised', NULL, 10)`)
				_, got := claimIDs(b, q)
				return fmt.Sprint(got), len(got) == 1
			})
		})
	}
}

// So does the rate of one key: without a look at its backlog, and no other key's rises with it.
func TestRateOfOneKeyRaised(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("one-raised", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('one-raised', key_rate => 1, key_rate_per => '1 day', key_rate_burst => 2)`)
	ids := putKeys(b, q, "a", "a", "a", "a", "b", "b", "b")
	_, got := claimIDs(b, q)
	slices.Sort(got)
	wantIDs(t, "a burst of each", got, ids[0], ids[1], ids[4], ids[5])
	set := func(r queue.Rate) {
		t.Helper()
		if err := q.SetKeyLimits(t.Context(), b.box, queue.KeyLimits{Rate: r}, "a"); err != nil {
			t.Fatal(err)
		}
		if l, err := q.KeyLimits(t.Context(), b.box, "a"); err != nil || l.Rate != r {
			t.Errorf("the key's limits: %+v, %v; want the rate that was set", l, err)
		}
	}
	set(queue.Rate{Count: 100, Per: time.Second, Burst: 1})
	for _, id := range ids[2:4] {
		eventually(t, "another of the key is claimed", func() (string, bool) {
			b.exec(`SELECT public.strunk_sweep_backlog('one-raised', NULL, 10)`)
			_, got := claimIDs(b, q)
			return fmt.Sprint(got), len(got) == 1 && got[0] == id
		})
	}
	set(queue.Rate{Count: 1, Per: time.Hour, Burst: 2})
	b.exec(`DELETE FROM public.strunk_rates WHERE customer_key = 'a'`)
	for i, want := range []int{1, 1, 0} { // each is paid for by the key's own rate
		more := putKeys(b, q, "a")
		if _, got = claimIDs(b, q); len(got) != want || want == 1 && got[0] != more[0] {
			t.Errorf("task %d under the lowered rate: %v were claimed; want %d", i+1, got, want)
		}
	}
	_, got = claimIDs(b, q)
	wantIDs(t, "of any key for a while", got)
}

// A key's rate is reached though none of its tasks ends, and without polling.
func TestKeyRateOfLongTasks(t *testing.T) {
	t.Parallel()
	const n = 20
	b := newBed(t)
	q := queue.Define[note]("long", queue.Config{Limits: queue.Limits{RatePerKey: queue.Rate{Count: 50,
		Per: time.Second}}})
	putKeys(b, q, repeated("a", n)...)
	release, running := make(chan struct{}), make(chan struct{}, n)
	b.run(q.Worker(func(context.Context, queue.Task[note]) error {
		running <- struct{}{}
		<-release
		return nil
	}, queue.Concurrency(2*n), queue.PollInterval(time.Hour)))
	t.Cleanup(func() { close(release) })
	for range n {
		receive(t, "another has begun", running)
	}
}

// A claim by hand takes of the queue's limit what it has claimed, not what it asked for.
func TestHandMadeClaimTakesNoMoreThanItHas(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hand-share", queue.Config{})
	b.exec(`SELECT public.strunk_set_limits('hand-share', running => 3)`)
	ids := putKeys(b, q, "a")
	_, got := claimIDs(b, q)
	wantIDs(t, "the only one", got, ids[0])
	more := putKeys(b, q, "a", "a", "a")
	_, got = claimIDs(b, q)
	wantIDs(t, "what is left of the limit", got, more[0], more[1])
}

// A burst so long that 64 bits could not count it is refused, and does not stop the queue.
func TestEndlessBurstIsRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	rate := queue.Rate{Count: 1, Per: 366 * 24 * time.Hour, Burst: 1_000_000}
	q := queue.Define[note]("endless", queue.Config{})
	wantError(t, q.SetLimits(t.Context(), b.box, queue.Limits{Rate: rate}), queue.ErrInvalid,
		"Limits.Rate.Burst: 1000000", "3000 years")
	_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_set_limits('endless', key_rate => 1, key_rate_per
		=> '366 days', key_rate_burst => 1000000)`)
	if err == nil {
		t.Error("strunk_set_limits took it")
	}
}
