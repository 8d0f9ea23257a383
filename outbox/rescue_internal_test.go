package outbox

import (
	"context"
	"testing"
	"time"
)

// watched is a rescuer that has seen the heartbeat of one worker, whose lease is three seconds, at
// a time, and the worker's row as it stands ever since.
func watched(at time.Time) (r *rescuer, rows []workerRow) {
	rows = []workerRow{{ID: 1, Heartbeat: 5, LeaseMS: 3000}}
	r = &rescuer{}
	r.observe(rows, at)
	return r, rows
}

// A heartbeat that stands still costs the lease only where this process has watched it all the
// time.
func TestFrozenRescuerExpiresNothing(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r, rows := watched(began)
	for at := 300 * time.Millisecond; at < 3*time.Second; at += 300 * time.Millisecond {
		if gone, _ := r.observe(rows, began.Add(at)); len(gone) > 0 {
			t.Fatalf("a lease of 3s is over after %v", at)
		}
	}
	if gone, _ := r.observe(rows, began.Add(3*time.Second)); len(gone) != 1 {
		t.Error("a heartbeat that was watched standing still for a lease has cost none")
	}
	r, rows = watched(began)
	if gone, _ := r.observe(rows, began.Add(time.Hour)); len(gone) > 0 {
		t.Error("a process that was frozen for an hour takes a lease away whose heartbeats it has not watched")
	}
}

// A process whose looks are always late, since the machine is slow, sees the end of a lease all the same: after as many
// looks as fit into one.
func TestSlowRescuerSeesTheEndOfALease(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r, rows := watched(began)
	for look := 1; look <= looksPerLease; look++ {
		gone, _ := r.observe(rows, began.Add(time.Duration(look)*5*time.Second))
		if over := look == looksPerLease; len(gone) == 1 != over {
			t.Errorf("at look %d, each 5 s after the one before, the lease is over: %v; want it over at look %d", look,
				!over, looksPerLease)
		}
	}
}

// A look that fails has every lease counted anew, however short the outage was.
func TestFailedLookCountsAnew(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, adopted := range []time.Time{time.Now(), {}} { // the look itself fails, or the one for orphans before it
		r, _ := watched(time.Now())
		r.box = &Box{names: newNames("public")}
		r.maintenance, r.adopted = newControl(r.box), adopted
		r.maintenance.slot <- struct{}{} // it is in use: the look fails when its time is up
		if _, err := r.look(over); err == nil || len(r.seen) > 0 {
			t.Errorf("after a look that failed (%v) %d leases count on; want none", err, len(r.seen))
		}
	}
}

// The row of a worker that was there at the last look and is not any more has the rescue look for tasks without one.
func TestVanishedWorkerIsLookedFor(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r, rows := watched(began)
	r.adopted = began
	soon := began.Add(adoptPause)
	if r.observe(rows, soon); r.mustAdopt(soon) {
		t.Error("with all workers there the rescue looks for tasks without one; want it not to")
	}
	if r.observe(nil, soon); !r.mustAdopt(soon) {
		t.Error("a worker's row has vanished and the rescue does not look for its tasks; want it to")
	}
	if r.mustAdopt(soon.Add(-time.Nanosecond)) {
		t.Errorf("the rescue looks again within %v; want it to wait", adoptPause)
	}
	if r.vanished = false; !r.mustAdopt(began.Add(adoptEvery)) {
		t.Errorf("after %v the rescue does not look for tasks without a worker; want it to", adoptEvery)
	}
}
