package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// rarely is a poll interval of boxes that must do without.
var rarely = outbox.Config{PollInterval: time.Hour}

// until is a time by the database's clock, so long from now.
func (b *bed) until(d time.Duration) time.Time {
	return value[time.Time](b, `SELECT clock_timestamp() + $1::bigint * interval '1 microsecond'`, d.Microseconds())
}

// A handler holds its queue in all processes; an operator lifts it. No attempt is spent, and nothing begins.
func TestHold(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	first, second := bedOn(t, b.pool, rarely), bedOn(t, b.pool, rarely)
	q := queue.Define[note]("hold", queue.Config{MaxAttempts: 1})
	var begun atomic.Int64
	var lifted atomic.Bool
	handler := func(ctx context.Context, task queue.Task[note]) error {
		begun.Add(1)
		if task.Attempt != 1 {
			t.Errorf("attempt %d; want 1 each time", task.Attempt)
		}
		if lifted.Load() {
			return nil
		}
		return fmt.Errorf("too many requests: %w", queue.Hold(ctx, b.until(time.Hour)))
	}
	first.run(q.Worker(handler))
	second.run(q.Worker(handler))
	id := put(b, q, note{"asks too much"})
	for _, box := range []*bed{first, second} {
		eventually(t, "both workers have heard", func() (string, bool) {
			return "", strings.Contains(box.logs.String(), "a queue was put on hold")
		})
	}
	reach(b, q, id, queue.StatusPending)
	n, ids := begun.Load(), append(putMany(b, q, 10), id)
	time.Sleep(100 * time.Millisecond) // nothing must happen: there is no signal for that
	if begun.Load() != n {
		t.Errorf("%d tasks were begun while the queue was on hold", begun.Load()-n)
	}
	checkHeld(b, q, ids[0], queue.CauseHeld)
	lifted.Store(true)
	b.exec(`SELECT public.strunk_lift_hold('hold')`)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.LastError != "" || len(rec.Attempts) != 0 {
			t.Errorf("task %d: %q, %+v; a hold is no failure", id, rec.LastError, rec.Attempts)
		}
	}
}

// checkHeld waits until Why says this first: a claim that was under way may still give the task back.
func checkHeld(b *bed, q *queue.Queue[note], id int64, want queue.Cause) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("the first cause is %s", want), func() (string, bool) {
		reasons, err := queue.Why(b.t.Context(), b.box, q.Name(), id)
		return fmt.Sprintf("%+v, %v", reasons, err), err == nil && len(reasons) > 0 && reasons[0].Cause == want &&
			reasons[0].Until != nil && strings.HasPrefix(reasons[0].Name, "task ")
	})
}

// A hold ends by itself, at its time by the database's clock, whatever kind of handler has asked for it.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	type holding func(ctx context.Context) error // the attempt of a handler
	plain := func(q *queue.Queue[note], attempt holding) *queue.Worker[note] {
		return q.Worker(func(ctx context.Context, _ queue.Task[note]) error { return attempt(ctx) })
	}
	for _, c := range []struct {
		name, reason string
		hold         func(ctx context.Context, until time.Time) error
		worker       func(q *queue.Queue[note], attempt holding) *queue.Worker[note]
	}{
		{"queue", "as a pause with an end", queue.Hold, plain},
		{"key", "it is not admitted", queue.HoldKey, plain},
		{"in a transaction", "the hold outlives it", queue.Hold,
			func(q *queue.Queue[note], attempt holding) *queue.Worker[note] {
				return q.WorkerInTx(func(ctx context.Context, _ *outbox.OwnedTx, _ queue.Task[note]) error {
					return attempt(ctx)
				})
			}},
		{"batch", "all tasks of it wait", queue.Hold, func(q *queue.Queue[note], attempt holding) *queue.Worker[note] {
			return q.BatchWorker(func(ctx context.Context, _ []queue.Task[note]) error { return attempt(ctx) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := bedOn(t, newBed(t).pool, rarely)
			q := queue.Define[note]("hold", queue.Config{MaxAttempts: 1})
			until := b.until(2 * time.Second)
			var runs atomic.Int64
			b.run(c.worker(q, func(ctx context.Context) error {
				if runs.Add(1) == 1 {
					return c.hold(ctx, until)
				}
				if now := b.until(0); now.Before(until) {
					t.Errorf("begun %v before the end of the hold: %s", until.Sub(now), c.reason)
				}
				return nil
			}))
			reach(b, q, put(b, q, note{"x"}, queue.CustomerKey("acme")), queue.StatusDelivered)
			if runs.Load() != 2 {
				t.Errorf("%d attempts; want 2", runs.Load())
			}
		})
	}
}

// The hold of a key keeps its tasks waiting, those that a worker has claimed ahead included, and no others.
func TestHoldKey(t *testing.T) {
	t.Parallel()
	b := bedOn(t, newBed(t).pool, rarely)
	q := queue.Define[note]("hold", queue.Config{MaxAttempts: 1})
	var begun atomic.Int64
	var lifted atomic.Bool
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		if task.CustomerKey != "acme" || lifted.Load() {
			return nil
		}
		begun.Add(1)
		return queue.HoldKey(ctx, b.until(time.Hour))
	}, queue.Concurrency(1)))
	for _, id := range putMany(b, q, 100) { // a worker whose tasks are short claims ahead
		reach(b, q, id, queue.StatusDelivered)
	}
	held := putMany(b, q, 20, queue.CustomerKey("acme"))
	eventually(t, "the tasks of the key wait for admission", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending' AND NOT admitted`)
		return fmt.Sprint(n), begun.Load() > 0 && n == len(held)
	})
	reach(b, q, put(b, q, note{"other"}, queue.CustomerKey("umbrella")), queue.StatusDelivered)
	held = append(held, put(b, q, note{"late"}, queue.CustomerKey("acme")))
	checkHeld(b, q, held[len(held)-1], queue.CauseKeyHeld)
	reach(b, q, put(b, q, note{"plain"}), queue.StatusDelivered)
	if n := begun.Load(); n != 1 {
		t.Errorf("%d tasks of the key were begun; want the first alone", n)
	}
	lifted.Store(true)
	b.exec(`SELECT public.strunk_lift_hold('hold', 'acme')`)
	for _, id := range held {
		reach(b, q, id, queue.StatusDelivered)
	}
}

// Where the hold cannot be stored, the task alone is put off, and no attempt is spent. What cannot be
// asked for is an error like any other.
func TestHoldThatCannotBe(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON public.strunk_holds EXECUTE FUNCTION public.refuse()`)
	q := queue.Define[note]("hold", queue.Config{MaxAttempts: 2})
	errs := make(chan error, 3)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		errs <- queue.HoldKey(ctx, b.until(time.Hour))
		errs <- queue.Hold(ctx, b.until(1000*24*time.Hour))
		err := queue.Hold(ctx, b.until(time.Hour))
		errs <- err
		return err
	}))
	rec := reach(b, q, put(b, q, note{"x"}), queue.StatusScheduled)
	wantError(t, receive(t, "no key", errs), queue.ErrInvalid, "no customer key")
	wantError(t, receive(t, "too long", errs), queue.ErrInvalid, "within 366 days")
	if err := receive(t, "refused", errs); !strings.Contains(fmt.Sprint(err), "no room") {
		t.Errorf("a refused hold: %v", err)
	}
	if rec.Attempt != 0 || !strings.Contains(rec.LastError, "no room") {
		t.Errorf("attempt %d, last error %q; want 0 and why", rec.Attempt, rec.LastError)
	}
	wantError(t, queue.Hold(t.Context(), time.Now()), queue.ErrNotInHandler)
	wantError(t, queue.HoldKey(t.Context(), time.Now()), queue.ErrNotInHandler)
}

// What the SQL functions promise: the later time counts, a hold lasts a second, and one that a clock was
// ahead for is brought forward.
func TestHoldFunctions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const left = `SELECT extract(epoch FROM public.strunk_hold('hold', now() + $1::interval) - now())::float8`
	for _, c := range []struct {
		name, reason, ask string
		low, high         float64
	}{
		{"past", "it lasts a second at least", "-1 hour", 1, 3600},
		{"an hour", "as asked", "1 hour", 3600, 3600},
		{"sooner", "the later time counts", "1 minute", 3500, 3600},
		{"later", "the later time counts", "2 hours", 7200, 7200},
	} {
		if s := value[float64](b, left, c.ask); s < c.low || s > c.high {
			t.Errorf("%s: %v s left, want %v to %v: %s", c.name, s, c.low, c.high, c.reason)
		}
	}
	b.exec(`UPDATE public.strunk_holds SET since = since + interval '1 year', until = until + interval '1 year'`)
	b.exec(`SELECT public.strunk_bring_forward(10)`)
	if far := value[bool](b, `SELECT until > now() + interval '3 hours' FROM public.strunk_holds`); far {
		t.Error("a hold from a clock that was ahead is not brought forward")
	}
	const lift = `SELECT public.strunk_lift_hold('hold')`
	if !value[bool](b, lift) || value[bool](b, lift) {
		t.Error("strunk_lift_hold does not say whether there was a hold")
	}
	b.exec(`SELECT public.strunk_hold('hold', now()); UPDATE public.strunk_holds SET until = now() - interval '1 hour'`)
	b.exec(`SELECT public.strunk_reap_marks('1 day', '1 day', 100)`)
	if n := value[int](b, `SELECT count(*) FROM public.strunk_holds`); n != 0 {
		t.Errorf("%d holds are left; one that is over is deleted", n)
	}
}
