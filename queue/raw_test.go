package queue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

func TestClaimByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hand", queue.Config{MaxAttempts: 2})
	putMany(b, q, 6)
	poison := put(b, q, note{"poison"})
	b.exec(`UPDATE public.strunk_outbox_tasks SET payload = '[]' WHERE id = $1`, poison)
	c, err := q.Claim(t.Context(), b.box, 10)
	if err != nil || len(c.Tasks) != 6 {
		t.Fatalf("claimed %+v, %v; want 6 and the poisonous one buried", c, err)
	}
	id := func(i int) int64 { return c.Tasks[i].ID }
	for what, err := range map[string]error{
		"heartbeat": c.Heartbeat(t.Context()),
		"report":    c.Report(t.Context(), id(0), 50, "half"),
		"complete":  c.Complete(t.Context(), id(0)),
		"fail":      c.Fail(t.Context(), id(1), errors.New("no")),
		"snooze":    c.Fail(t.Context(), id(2), queue.Snooze(time.Hour)),
		"discard":   c.Fail(t.Context(), id(3), queue.Discard("enough")),
		"release":   c.Release(t.Context()),
		"again":     c.Release(t.Context()),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i, want := range []struct {
		status   queue.Status
		attempts int
	}{{queue.StatusDelivered, 1}, {queue.StatusScheduled, 1}, {queue.StatusScheduled, 0}, {queue.StatusDiscarded, 1},
		{queue.StatusPending, 0}, {queue.StatusPending, 0}} {
		if rec := get(b, q, id(i)); rec.Status != want.status || rec.Attempt != want.attempts {
			t.Errorf("task %d is %s after %d attempts; want %s, %d", i+1, rec.Status, rec.Attempt, want.status,
				want.attempts)
		}
	}
	if rec := get(b, q, poison); rec.Status != queue.StatusDead {
		t.Errorf("the poisonous task is %s", rec.Status)
	}
	wantError(t, c.Complete(t.Context(), id(4)), queue.ErrLeaseLost)
	if n := value[int](b, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows are left", n)
	}
}

func TestClaimByHandOfNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hand", queue.Config{})
	c, err := q.Claim(t.Context(), b.box, 10)
	if err != nil || len(c.Tasks) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := errors.Join(c.Heartbeat(t.Context()), c.Release(t.Context())); err != nil {
		t.Error(err)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows for nothing", n)
	}
	_, err = q.Claim(t.Context(), b.box, 0)
	wantError(t, err, queue.ErrInvalid)
}

// Without a heartbeat the tasks go to others, and the claim can do nothing any more; with heartbeats it keeps them.
func TestClaimByHandLosesItsLease(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hand", queue.Config{})
	putMany(b, q, 2)
	const lease = 8 * time.Second // long against the pauses of a busy machine
	idle, err := q.Claim(t.Context(), b.box, 1, queue.VisibilityTimeout(lease))
	if err != nil {
		t.Fatal(err)
	}
	busy, err := q.Claim(t.Context(), b.box, 1, queue.VisibilityTimeout(lease))
	if err != nil {
		t.Fatal(err)
	}
	b.run() // the rescue
	eventually(t, "the idle claim is rescued", func() (string, bool) {
		if err := busy.Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
		rec := get(b, q, idle.Tasks[0].ID)
		return fmt.Sprint(rec.Status), rec.Status == queue.StatusPending
	})
	wantError(t, idle.Heartbeat(t.Context()), queue.ErrLeaseLost)
	wantError(t, idle.Complete(t.Context(), idle.Tasks[0].ID), queue.ErrLeaseLost)
	wantError(t, idle.Report(t.Context(), idle.Tasks[0].ID, 1, ""), queue.ErrLeaseLost)
	if err := busy.Complete(t.Context(), busy.Tasks[0].ID); err != nil {
		t.Error(err)
	}
}
