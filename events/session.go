package events

import (
	"context"
	"errors"
	"math"
	"sync"

	"github.com/strunk-go/strunk/internal/core"
)

// session delivers a subscriber's events during a tenure: it wires together what reads them, what
// handles them, and what stores how far they are.
type session struct {
	t          *tenure
	attempts   *attempts
	deliveries *deliveries
	lanes      *lanes
	reader     *reader
	redelivery *redelivery
	cursor     *cursor
	heartbeat  *heartbeat
	watchdog   *watchdog
}

// newSession makes a session that goes on at p. What is up to possiblyStarted may have been begun
// by an owner that was lost.
func newSession(o *owner, life core.Life, p place, possiblyStarted int64) *session {
	t := newTenure(o, life, p.epoch)
	s := &session{t: t, attempts: newAttempts(t), deliveries: newDeliveries(t), heartbeat: newHeartbeat(t)}
	latency := &latency{}
	work := &executor{t: t, attempts: s.attempts, deliveries: s.deliveries, latency: latency,
		caller: newCaller(t, latency), possiblyStarted: possiblyStarted}
	s.reader = &reader{t: t, latency: latency, look: s.deliveries.look,
		starts: &starts{t: t, mayStart: p.started}}
	var check *placeCheck
	if p.bootstrap == bootstrapSnapshots {
		s.lanes = newLanes(o.opts.concurrency, 0, work)
		src := newSnapshotSource(t, p, s.lanes)
		check, s.reader.source, s.reader.bootstrapping = src.place, src, true
		s.reader.starts.mayStart = math.MaxInt64
	} else {
		s.lanes = newLanes(o.opts.concurrency, p.cursor, work)
		src := newFeedSource(t, s.attempts, s.lanes, p)
		check, s.reader.source = src.place, src
	}
	s.reader.lanes = s.lanes
	s.cursor = newCursor(t, s.reader.source, s.lanes, latency)
	s.redelivery = newRedelivery(t, s.deliveries, s.lanes, work.caller, check)
	s.watchdog = newWatchdog(t, s.lanes)
	work.cursor, work.redelivery = s.cursor, s.redelivery
	return s
}

// run delivers events until the soft end, or until the tenure is over, and returns why: nil,
// ErrLeaseLost, ErrRewound or errReload. When it returns, no handler runs but those that were left
// behind.
func (s *session) run() error {
	defer s.t.end(context.Canceled)
	var side sync.WaitGroup
	stopSide := make(chan struct{})
	side.Go(func() { s.heartbeat.run(stopSide) })
	side.Go(func() { s.watchdog.run(stopSide) })
	if s.load() {
		s.lanes.start(s.t.base)
		side.Go(func() { s.cursor.run(stopSide) })
		side.Go(func() { s.redelivery.run(stopSide) })
		s.reader.run()
		s.lanes.stop()
	}
	close(stopSide)
	side.Wait()
	if cause := context.Cause(s.t.base); cause != nil && !errors.Is(cause, ErrShutdown) {
		return cause
	}
	return nil
}

// load reads what the database holds beside the cursor; false is the tenure's end.
func (s *session) load() bool {
	return s.t.persist("reading a subscriber's state", func(context.Context) error {
		return errors.Join(s.deliveries.load(), s.attempts.load())
	}) == nil
}
