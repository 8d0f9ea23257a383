package events

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/strunk-go/strunk/internal/core"
)

var (
	// errLost is the failure of an event whose attempts were all cut off with their process.
	errLost = errors.New("the process that handled it was lost")
	// errSkipped is the failure of an event that a person has skipped.
	errSkipped = errors.New("skipped by a person")
)

// executor sees events through: handled, passed as a delivery, or the tenure ends. It is what lanes
// do with their items.
type executor struct {
	t          *tenure
	attempts   *attempts
	deliveries *deliveries
	redelivery *redelivery
	caller     *caller
	cursor     *cursor
	latency    *latency

	possiblyStarted int64 // items up to this order may have been begun by an owner that was lost
	// possibly started items are handled alone, so that the one which ends the process is known
	oneAtATime sync.Mutex
}

// ending implements laneWork.
func (e *executor) ending() bool { return e.t.ending() }

// group returns how many of the items may be handed to the handler at once: the first alone, unless the handler takes
// batches and nothing is known against any of them.
func (e *executor) group(items []*item) int {
	if !e.t.work.batch {
		return 1
	}
	n := 0
	for n < len(items) && n < e.t.opts.batch && e.plain(items[n]) {
		n++
	}
	return max(n, 1)
}

// plain reports whether nothing is known against an item.
func (e *executor) plain(it *item) bool {
	return !it.redeliver && it.order > e.possiblyStarted && !e.attempts.has(it.attemptKey()) &&
		!e.deliveries.has(it.entityID)
}

// handle sees items through. resumed is the outcome of an attempt that is over.
func (e *executor) handle(l *lane, items []*item, resumed error) verdict {
	if items[0].redeliver {
		return e.redelivery.handle(l, items[0], resumed)
	}
	l.first.Store(items[0].order)
	v := goOn
	if len(items) == 1 {
		v = e.handleOne(l, items[0], resumed)
	} else {
		v = e.handleBatch(l, items, resumed)
	}
	if v == goOn {
		done := l.current // of a batch that failed, the first item alone
		e.latency.handled.Add(int64(len(done)))
		l.first.Store(done[len(done)-1].order + 1)
	}
	return v
}

// handleBatch hands a batch over. When it fails, its items are handed over one by one, so that it is known which does.
func (e *executor) handleBatch(l *lane, items []*item, resumed error) verdict {
	err := resumed
	if err == nil {
		var gone bool
		if gone, err = e.caller.call(l, items, e.cursor.passing(items[len(items)-1].order)); gone {
			return abandoned
		}
	}
	if err == nil {
		return goOn
	}
	if e.t.base.Err() != nil {
		return stop
	}
	e.t.rt.Logger().Info("strunk: a batch failed; its events are handled one by one", "subscriber", e.t.name,
		"events", len(items), "error", core.ErrorText(err))
	rest := l.rest
	l.rest = append(append(make([]*item, 0, len(items)+len(rest)), items[1:]...), rest...)
	for _, it := range items { // not as a batch again
		e.attempts.add(it.attemptKey())
	}
	l.current = items[:1]
	return e.handleOne(l, items[0], nil)
}

// handleOne sees one item through.
func (e *executor) handleOne(l *lane, it *item, resumed error) verdict {
	if resumed == nil && e.deliveries.has(it.entityID) {
		if free, v := e.deliveries.wait(it); v != goOn || !free {
			return v
		}
	}
	for possiblyStarted := it.order <= e.possiblyStarted; ; possiblyStarted = false {
		v, err := e.attempt(l, it, possiblyStarted, resumed)
		resumed = nil
		switch {
		case v != goOn || err == nil:
			return v
		case errors.Is(err, errSkipped):
			return e.deliveries.deadLetter(it, err)
		case e.t.base.Err() != nil:
			return stop
		case e.t.opts.policy != Block:
			return e.deliveries.park(it, err)
		}
		if v, skipped := e.block(it, err); v != goOn || skipped {
			return v
		}
	}
}

// attempt makes one attempt, counted before where the item has attempts behind it. Possibly started
// items are alone in the process from the count to the end: if one of them ends the process, its
// attempt is the only one that was counted.
func (e *executor) attempt(l *lane, it *item, possiblyStarted bool, resumed error) (verdict, error) {
	if resumed != nil {
		e.caller.counted.failed()
		return goOn, resumed
	}
	if possiblyStarted {
		e.oneAtATime.Lock()
		defer e.oneAtATime.Unlock()
		if e.t.ending() {
			return stop, nil
		}
	}
	if possiblyStarted || e.attempts.has(it.attemptKey()) {
		if v, err := e.count(it, possiblyStarted); v != goOn || err != nil {
			return v, err
		}
	}
	gone, err := e.caller.call(l, []*item{it}, e.cursor.passing(it.order))
	if gone {
		return abandoned, nil
	}
	if possiblyStarted && err == nil {
		return e.attempts.clear(it), nil
	}
	return goOn, err
}

// count counts an attempt before it is made. The error says why there is none to make.
func (e *executor) count(it *item, possiblyStarted bool) (verdict, error) {
	least := it.attempt - 1
	if possiblyStarted {
		least = max(least, 1) // the owner that was lost has begun it
	}
	skip, v := e.attempts.count(it, least)
	switch {
	case v != goOn:
		return v, nil
	case skip:
		return goOn, errSkipped
	case e.t.opts.policy != Block && it.attempt > e.t.opts.attempts:
		return goOn, errLost
	}
	return goOn, nil
}

// block stores why an attempt failed and waits until the next is due, or the event is to be skipped.
func (e *executor) block(it *item, failure error) (v verdict, skipped bool) {
	skip, v := e.attempts.failed(it, failure)
	if v != goOn {
		return v, false
	}
	delay := e.t.retryDelay(it.attempt, failure)
	e.t.rt.Logger().Warn("strunk: an event failed and blocks its subscriber until it succeeds", "subscriber",
		e.t.name, "position", it.position,
		"entity", it.entityID, "attempt", it.attempt, "retry_in", delay, why(failure))
	if skip || e.attempts.await(it, delay) {
		return e.deliveries.deadLetter(it, failure), true
	}
	if e.t.ending() {
		return stop, false
	}
	it.attempt++ // count makes sure of it
	return goOn, false
}

func errorTexts(err error) (text, stack *string) { return core.ErrorTexts(err, stackOf) }

func stackOf(err error) (string, bool) {
	var p *PanicError
	if !errors.As(err, &p) {
		return "", false
	}
	return p.Stack, true
}

// why is an error in a log, with the stack of a panic.
func why(err error) slog.Attr { return core.Why(errorTexts(err)) }
