package events

import (
	"testing"
	"time"
)

// nothing is a lanes' work that is never done.
type nothing struct{ laneWork }

// Everything up to the low watermark is handled, whatever waits in the lanes and whatever has been
// read beyond it.
func TestLowWatermarkStaysBehindWhatWaits(t *testing.T) {
	t.Parallel()
	l := newLanes(4, 10, nothing{})
	low := func(want int64, when string) {
		t.Helper()
		if got := l.lowWatermark(); got != want {
			t.Errorf("%s: the low watermark is %d; want %d", when, got, want)
		}
	}
	low(10, "at the start")
	l.put(nil, 20)
	low(20, "after events of other types")
	l.put([]*item{{entityID: "a", order: 23}, {entityID: "b", order: 25}}, 30)
	low(22, "with 23 and 25 of those up to 30 in the lanes")
	l.put([]*item{{entityID: "a", order: 31}, {entityID: "c", order: 33}}, 35)
	low(22, "with more read since")
	a, b, c := l.all[l.laneOf("a")], l.all[l.laneOf("b")], l.all[l.laneOf("c")]
	a.first.Store(24)
	low(23, "with 23 handled, and what is behind it in its lane not looked at yet")
	for _, lane := range []*lane{a, b, c} {
		lane.first.Store(idle)
	}
	low(35, "with all handled")
}

// A standby takes a lease whose heartbeat it has watched standing still all the time, and no other.
func TestFrozenStandbyTakesNothing(t *testing.T) {
	t.Parallel()
	const pause, lease = 300 * time.Millisecond, 3 * time.Second
	began, heartbeat := time.Now(), ownerHeartbeat{epoch: 1, heartbeat: 5}
	var watch ownerWatch
	for at := time.Duration(0); at < lease; at += pause {
		if leaseOver(&watch, began.Add(at), pause, lease, heartbeat) {
			t.Fatalf("a lease of %v is over after %v", lease, at)
		}
	}
	if !leaseOver(&watch, began.Add(lease), pause, lease, heartbeat) {
		t.Error("a heartbeat that was watched standing still for a lease has cost none")
	}
	if leaseOver(&watch, began.Add(lease+pause), pause, lease, ownerHeartbeat{epoch: 1, heartbeat: 6}) {
		t.Error("a heartbeat that has moved costs the lease")
	}
	if leaseOver(&watch, began.Add(time.Hour), pause, lease, ownerHeartbeat{epoch: 1, heartbeat: 6}) {
		t.Error("a process that was frozen for an hour takes a lease over whose heartbeats it has not watched")
	}
}
