package queue_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/strunk-go/strunk/queue"
)

// A manual claim obeys cancellations as a worker does: what is to be cancelled is not claimed, is
// told to the claim that has it, and is not tried again.
func TestManualClaimObeysCancellations(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("by-hand", queue.Config{})
	ids := putMany(b, q, 4)
	c, got := claimIDs(b, q)
	wantIDs(t, "all", got, ids...)
	if asked, err := c.CancelRequests(t.Context()); err != nil || len(asked) > 0 {
		t.Errorf("cancel requests %v, %v; want none", asked, err)
	}
	for _, id := range ids[:3] {
		if state, err := q.Cancel(t.Context(), b.box, id, "because"); err != nil || state != queue.CancelRequested {
			t.Fatal(state, err)
		}
	}
	if asked, err := c.CancelRequests(t.Context()); err != nil || !slices.Equal(asked, ids[:3]) {
		t.Errorf("cancel requests %v, %v; want %v", asked, err, ids[:3])
	}
	noError(t, errors.Join(c.Fail(t.Context(), ids[0], errors.New("stopped")),
		c.Fail(t.Context(), ids[1], queue.Snooze(0))))
	for _, id := range ids[:2] {
		if rec := get(b, q, id); rec.Status != queue.StatusCancelled || rec.LastError != "cancelled: because" {
			t.Errorf("task %d is %s, last error %q; want it cancelled", id, rec.Status, rec.LastError)
		}
	}
	noError(t, c.Release(t.Context()))
	_, got = claimIDs(b, q)
	wantIDs(t, "what was given back and is not to be cancelled", got, ids[3])
	if rec := get(b, q, ids[2]); rec.Status != queue.StatusCancelled {
		t.Errorf("the cancelled task that was given back is %s", rec.Status)
	}
}

// A task of a queue with results is completed by a manual claim with its result.
func TestManualClaimStoresResult(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.DefineWithResult[note, map[string]int]("by-hand-result", queue.Config{})
	id := put(b, q.Queue, note{"x"})
	c, err := q.Claim(t.Context(), b.box, 1)
	noError(t, err)
	noError(t, c.Complete(t.Context(), id, map[string]int{"n": 7}))
	if result, err := q.Wait(t.Context(), b.box, id); err != nil || result["n"] != 7 {
		t.Errorf("the result is %v, %v; want 7", result, err)
	}
	wantError(t, c.Complete(t.Context(), id, nil), queue.ErrLeaseLost)
}
