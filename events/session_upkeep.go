package events

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// save keeps the cursor, at the session's end once more.
func (s *session) save(stop <-chan struct{}) {
	if s.work.inTx {
		s.saveQuiet(stop)
		return
	}
	var at time.Time
	var handled int64
	for {
		timer := time.NewTimer(saveInterval)
		ended := false
		select {
		case <-timer.C:
		case <-stop:
			ended = true
		}
		timer.Stop()
		low, n := s.lowWater(), s.handled.Load()
		if low > s.saved && (ended || n > handled || time.Since(at) >= idleInterval) && !s.fenced() {
			if err := s.source.save(low); err == nil {
				s.saved, handled, at = low, n, time.Now()
			} else {
				s.logError(s.rt, "keeping the cursor failed", err)
			}
		}
		if ended {
			return
		}
	}
}

// saveQuiet keeps the cursor of a TxSubscriber where no transaction has moved it: behind events of other types, and behind
// copies.
func (s *session) saveQuiet(stop <-chan struct{}) {
	for ended := false; !ended; {
		timer := time.NewTimer(idleInterval)
		select {
		case <-timer.C:
		case <-stop:
			ended = true
		}
		timer.Stop()
		low := s.lowWater()
		if low > s.saved && !s.fenced() {
			if err := s.source.save(low); err != nil {
				s.logError(s.rt, "keeping the cursor failed", err)
				continue
			}
			s.saved = low
		}
	}
}

// fenced reports whether the epoch is known to be over.
func (s *session) fenced() bool {
	cause := context.Cause(s.base)
	return errors.Is(cause, ErrLeaseLost) || errors.Is(cause, ErrRewound)
}

// beat renews the lease. An owner that cannot for as long as the lease lasts does not wait to be told that another has it.
func (s *session) beat(stop <-chan struct{}) {
	last := time.Now()
	every := max(s.opts.lease/beatsPerLease, lookFastest)
	for {
		timer := time.NewTimer(every)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
		sent := time.Now()
		var epoch *int64
		_, err := s.controlled(context.Background(), sqlBeat, []any{s.name, s.id}, &epoch)
		switch {
		case err == nil && epoch == nil:
			s.end(ErrLeaseLost)
		case err == nil && *epoch != s.place.epoch:
			s.end(ErrRewound)
		case err == nil:
			last = sent
		case time.Since(last) > s.opts.lease:
			s.end(ErrLeaseLost)
		default:
			s.logError(s.rt, "a subscriber's heartbeat failed", err)
		}
		if s.fenced() {
			<-stop
			return
		}
	}
}

// watch ends the contexts of handlers when the grace period is over, and lets go of handlers that do not return.
func (s *session) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	hard, gone := s.life.Hard.Done(), s.base.Done()
	var ended time.Time
	for {
		select {
		case <-stop:
			return
		case <-hard:
			s.end(ErrShutdown)
			hard = nil
		case <-gone:
			gone, ended = nil, time.Now()
		case now := <-ticker.C:
			for _, l := range s.lanes {
				s.abandonOverdue(l, now, ended)
			}
		}
	}
}

func (s *session) abandonOverdue(l *lane, now, ended time.Time) {
	due := l.due.Load()
	if due == 0 || !l.overdue(now, ended) || !l.due.CompareAndSwap(due, 0) {
		return
	}
	s.rt.Logger().Error("strunk: a handler did not return after its context had ended; its goroutine is left behind",
		"subscriber", s.name, "entity", l.current[0].entityID, "position", l.current[0].position)
	go l.serve(fmt.Errorf("%w, and the handler did not return", ErrTimeout))
}
