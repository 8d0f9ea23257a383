package core

import (
	"sync"
	"time"
)

// Throttle spares a log: one line in each interval. The zero value lets the first line through.
type Throttle struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// Next reports whether a line is due, and how many were suppressed since the last one.
func (t *Throttle) Next(now time.Time, interval time.Duration) (suppressed int, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < interval {
		t.suppressed++
		return 0, false
	}
	suppressed, t.last, t.suppressed = t.suppressed, now, 0
	return suppressed, true
}
