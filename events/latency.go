package events

import (
	"sync/atomic"
	"time"
)

// latency measures how long handlers take per event.
type latency struct {
	handled atomic.Int64 // events
	busy    atomic.Int64 // nanoseconds
}

// within returns how many events a handler takes in d; 0 while nothing is known.
func (l *latency) within(d time.Duration) int64 {
	handled := l.handled.Load()
	if handled == 0 {
		return 0
	}
	return int64(d) / (l.busy.Load()/handled + 1)
}
