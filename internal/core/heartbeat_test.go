package core

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A heartbeat is old when it was watched standing still, and not when the watcher was away.
func TestHeartbeatWatch(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var w HeartbeatWatch[int]
	for _, look := range []struct {
		name, reason string
		at           time.Duration
		heartbeat    int
		still        time.Duration
	}{
		{"first", "nothing was watched before", 0, 1, 0},
		{"standing", "it has not moved", time.Second, 1, time.Second},
		{"moved", "it counts anew", 2 * time.Second, 2, 0},
		{"standing again", "it has not moved since", 3 * time.Second, 2, time.Second},
		{"after a freeze of the watcher", "the hour counts as one pause", time.Hour, 2, 1500 * time.Millisecond},
		{"watched again", "it goes on", time.Hour + time.Second, 2, 2500 * time.Millisecond},
		{"moved meanwhile", "it counts anew", 2 * time.Hour, 3, 0},
	} {
		if still := w.Look(start.Add(look.at), 500*time.Millisecond, look.heartbeat); still != look.still {
			t.Errorf("%s (%s): still for %v; want %v", look.name, look.reason, still, look.still)
		}
	}
}

// A limit is halved down to one row, for want of time alone, and grows again.
func TestBatchLimit(t *testing.T) {
	t.Parallel()
	l := NewBatchLimit(1000, 1<<20)
	if l.Failed(errors.New("another reason")) {
		t.Error("halved for another reason than time")
	}
	for l.Failed(context.DeadlineExceeded) {
	}
	if rows, bytes := l.Now(); rows != 1 || bytes < 1 {
		t.Errorf("halved down to %d rows and %d bytes; want one row", rows, bytes)
	}
	for range 100 * growAfter {
		l.Succeeded()
	}
	if rows, bytes := l.Now(); rows != 1000 || bytes != 1<<20 {
		t.Errorf("grown to %d rows and %d bytes; want 1000 and 1 MiB", rows, bytes)
	}
}
