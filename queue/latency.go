package queue

import (
	"sync/atomic"
	"time"
)

// latency measures how long handlers take. The executor calls ran, from several goroutines; the claimer alone calls
// perTask.
type latency struct {
	handled, busy atomic.Int64 // handler runs, and their nanoseconds in all

	seenHandled, seenBusy int64
	seen                  time.Time
	recent                time.Duration
	published             atomic.Int64 // recent, for average
}

func newLatency() *latency { return &latency{} }

func (l *latency) ran(d time.Duration) {
	l.handled.Add(1)
	l.busy.Add(int64(d))
}

// stalled is how long handlers may run without any of them ending before they count as slow.
const stalled = 100 * time.Millisecond

// perTask returns the average time of the latest runs, of at least enough of them, or 0 while
// nothing is known. Handlers that have been running for longer than the average without an end
// raise it: a worker whose handlers have become slow must stop claiming ahead.
func (l *latency) perTask(now time.Time, enough int64, running bool) time.Duration {
	defer func() { l.published.Store(int64(l.recent)) }()
	handled, busy := l.handled.Load(), l.busy.Load()
	switch n := handled - l.seenHandled; {
	case n >= enough || (n > 0 && l.recent == 0):
		latest := time.Duration((busy-l.seenBusy)/n) + 1
		l.recent = (l.recent + latest) / 2
		l.seenHandled, l.seenBusy, l.seen = handled, busy, now
	case n == 0 && running && now.Sub(l.seen) > stalled:
		l.recent = max(l.recent, now.Sub(l.seen))
	case n > 0 && now.Sub(l.seen) > stalled:
		l.recent = time.Duration((busy-l.seenBusy)/n) + 1
		l.seenHandled, l.seenBusy, l.seen = handled, busy, now
	}
	return l.recent
}

// average is what perTask returned last. It is safe for several goroutines.
func (l *latency) average() time.Duration { return time.Duration(l.published.Load()) }
