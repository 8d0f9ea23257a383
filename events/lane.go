package events

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// idle is what lane.first holds where nothing waits.
const idle = math.MaxInt64

// laneWork is what lanes do with their items.
type laneWork interface {
	// group returns how many of the items are handled at once; one at least.
	group(items []*item) int
	// handle sees items through. resumed is the outcome of an attempt that is over.
	handle(l *lane, items []*item, resumed error) verdict
	// ending reports whether no further event may be begun.
	ending() bool
}

// lane handles the events of a part of the entities, one after the other.
type lane struct {
	lanes   *lanes
	work    laneWork
	base    context.Context    // of its handlers
	release context.CancelFunc // ends base
	first   atomic.Int64       // order of the first item that is not finished, or a lower bound of it
	// due is when the running handler ought to have returned, in unix nanoseconds; 0 while none
	// runs. Whoever sets it back to 0, the handler's return or the watch, says what comes next.
	due atomic.Int64
	// held is what is open for the running handler.
	held atomic.Pointer[holding] // of the last call in a transaction; nil without one

	mu    sync.Mutex
	queue []*item
	wake  chan struct{}

	// of the goroutine that serves the lane, and of the watch while it hands the lane on
	rest    []*item
	current []*item
}

func newLane(all *lanes, work laneWork) *lane {
	l := &lane{lanes: all, work: work, wake: make(chan struct{}, 1)}
	l.first.Store(idle)
	return l
}

// put adds items, in order.
func (l *lane) put(items []*item) {
	l.mu.Lock()
	l.queue = append(l.queue, items...)
	if l.first.Load() == idle {
		for _, it := range items {
			if it.order > 0 {
				l.first.Store(it.order)
				break
			}
		}
	}
	l.mu.Unlock()
	signal(l.wake)
}

// take waits for items; nil is the session's end.
func (l *lane) take() []*item {
	for {
		l.mu.Lock()
		items := l.queue
		l.queue = nil
		if len(items) == 0 {
			l.first.Store(idle)
		}
		l.mu.Unlock()
		if len(items) > 0 {
			return items
		}
		signal(l.lanes.progress)
		select {
		case <-l.wake:
		case <-l.lanes.stopping:
			return nil
		}
	}
}

// verdict is what a goroutine that serves a lane does next.
type verdict int

const (
	goOn      verdict = iota
	stop              // the session ends
	abandoned         // another goroutine has the lane now
)

// serve handles what comes until the session ends. resumed is the outcome of the items that an
// abandoned goroutine had in hand.
func (l *lane) serve(resumed error) {
	v := goOn
	defer func() {
		if v != abandoned {
			l.lanes.running.Done()
		}
	}()
	if resumed != nil {
		l.current = cloned(l.current)
		v = l.work.handle(l, l.current, resumed)
	}
	for v == goOn {
		if len(l.rest) == 0 {
			l.current = nil
			if l.rest = l.take(); l.rest == nil {
				return
			}
		}
		if l.work.ending() {
			return
		}
		n := l.work.group(l.rest)
		l.current, l.rest = l.rest[:n], l.rest[n:]
		v = l.work.handle(l, l.current, nil)
	}
}

// cloned returns copies of items that a handler which did not return may still read.
func cloned(items []*item) []*item {
	copies := make([]*item, len(items))
	for i, it := range items {
		c := *it
		if it.delivery != nil {
			inner := *it.delivery
			c.delivery = &inner
		}
		copies[i] = &c
	}
	return copies
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
