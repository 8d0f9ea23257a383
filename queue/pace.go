package queue

import (
	"sync/atomic"
	"time"
)

// pace tells how long handlers take of late. ran is called by the executors, perTask by the feeder alone.
type pace struct {
	handled, busy atomic.Int64 // handler runs, and their nanoseconds

	seenHandled, seenBusy int64
	seen                  time.Time
	recent                time.Duration
}

func (p *pace) ran(d time.Duration) {
	p.handled.Add(1)
	p.busy.Add(int64(d))
}

// stalled is how long nothing may end while handlers run before they count as slow.
const stalled = 100 * time.Millisecond

// perTask returns the average of the latest runs, at least enough of them to count, or 0 while nothing is known. Handlers
// that have been running without an end for longer than the average make it longer: a worker whose handlers have become
// slow must not go on claiming ahead.
func (p *pace) perTask(now time.Time, enough int64, running bool) time.Duration {
	handled, busy := p.handled.Load(), p.busy.Load()
	switch n := handled - p.seenHandled; {
	case n >= enough || (n > 0 && p.recent == 0):
		latest := time.Duration((busy-p.seenBusy)/n) + 1
		p.recent = (p.recent + latest) / 2
		p.seenHandled, p.seenBusy, p.seen = handled, busy, now
	case n == 0 && running && now.Sub(p.seen) > stalled:
		p.recent = max(p.recent, now.Sub(p.seen))
	case n > 0 && now.Sub(p.seen) > stalled:
		p.recent = time.Duration((busy-p.seenBusy)/n) + 1
		p.seenHandled, p.seenBusy, p.seen = handled, busy, now
	}
	return p.recent
}
