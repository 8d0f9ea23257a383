package events

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// readChunk bounds the events of one read.
	readChunk = 1000
	// mostAhead bounds the events that are read and that the cursor has not passed.
	mostAhead = 4000
	// aheadTime is how much work is read ahead, by the time that the handlers take.
	aheadTime = 100 * time.Millisecond
	// saveInterval is how often the cursor is kept while events are handled; idleInterval, while it only passes those of other
	// entity types. The cursor's row is one that every move adds a version to.
	saveInterval = 50 * time.Millisecond
	idleInterval = time.Second
	// watchInterval is how often running handlers are looked at.
	watchInterval = 250 * time.Millisecond
	// statementTimeout bounds one statement; an answer that takes longer counts as lost.
	statementTimeout = 15 * time.Second
)

// errReload ends a session whose place in the feed is to be read again.
var errReload = errors.New("the subscriber's place is read again")

// session is an owner's life under one epoch.
type session struct {
	*owner
	life  core.Life
	place place
	by    string

	base     context.Context // of handlers
	cancel   context.CancelCauseFunc
	stopping chan struct{} // closed when the lanes are to end
	progress chan struct{} // signalled when a lane has run empty
	nudge    chan struct{} // signalled when copies may have to be redelivered
	seed     maphash.Seed

	source    source
	lanes     []*lane
	lanesDone sync.WaitGroup
	readTo    atomic.Int64 // everything up to here has been put into the lanes
	saved     int64        // of the saver alone, but for sessions in a transaction
	begun     int64        // events up to here may be begun
	suspect   int64        // events up to here may have been begun by an owner that was lost
	careful   sync.Mutex   // suspects are handled alone, so that the one which ends the process is known
	chunks    []chunk      // of the reader

	handled atomic.Int64 // events
	busy    atomic.Int64 // nanoseconds of handlers

	delivering atomic.Bool // not paused

	held    heldSet
	retries retrySet
}

// chunk is what one read has brought.
type chunk struct {
	last int64
	n    int
}

func newSession(o *owner, life core.Life, p place, suspect int64) *session {
	s := &session{owner: o, life: life, place: p, stopping: make(chan struct{}), progress: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
		seed: maphash.MakeSeed(), suspect: suspect, by: fmt.Sprintf("%s/%d", o.host, os.Getpid())}
	s.base, s.cancel = context.WithCancelCause(context.WithoutCancel(life.Hard))
	s.held.init()
	s.source = &feedSource{s: s}
	s.saved, s.begun = p.cursor, p.started
	if p.boot == bootScanning {
		s.source = &scanSource{s: s, mark: p.mark}
		s.saved, s.begun = 0, math.MaxInt64
	}
	s.readTo.Store(s.saved)
	for range o.opts.concurrency {
		s.lanes = append(s.lanes, newLane(s))
	}
	return s
}

// run delivers events until the soft end, or until the epoch is over, and returns why: nil, ErrLeaseLost, ErrRewound or
// errReload. When it returns, no handler runs but those that were left behind.
func (s *session) run() error {
	defer s.cancel(context.Canceled)
	var side sync.WaitGroup
	stopSide := make(chan struct{})
	side.Go(func() { s.beat(stopSide) })
	side.Go(func() { s.watch(stopSide) })
	if s.prepare() {
		s.lanesDone.Add(len(s.lanes))
		for _, l := range s.lanes {
			go l.serve(nil)
		}
		side.Go(func() { s.save(stopSide) })
		side.Go(func() { s.redeliveries(stopSide) })
		s.feed()
		close(s.stopping)
		s.lanesDone.Wait()
	}
	close(stopSide)
	side.Wait()
	if cause := context.Cause(s.base); cause != nil && !errors.Is(cause, ErrShutdown) {
		return cause
	}
	return nil
}

// ending reports whether no further event may be begun.
func (s *session) ending() bool { return s.base.Err() != nil || s.life.Soft.Err() != nil }

// end ends the session; the first cause counts.
func (s *session) end(cause error) { s.cancel(cause) }

// prepare reads what the database holds beside the cursor; false is the session's end.
func (s *session) prepare() bool {
	pause := firstPause
	for !s.ending() {
		err := errors.Join(s.loadHeld(), s.loadRetries())
		if err == nil {
			return true
		}
		s.logError(s.rt, "a subscriber's state could not be read", err)
		s.sleep(pause)
		pause = min(2*pause, s.poll)
	}
	return false
}

// sleep waits, or until the session ends.
func (s *session) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.base.Done():
	case <-s.life.Soft.Done():
	}
}

// feed reads events and puts them into the lanes.
func (s *session) feed() {
	woken, stop := s.rt.Subscribe(append(s.def.topics(), topicSubscriber(s.name))...)
	defer stop()
	pause := firstPause
	for !s.ending() {
		room := s.room()
		n, err := s.readInto(min(room, readChunk))
		switch {
		case err != nil && !s.ending():
			s.logError(s.rt, "reading the feed failed", err)
			s.sleep(pause)
			pause = min(2*pause, s.poll)
			continue
		case n > 0 && n == min(room, readChunk):
			pause = firstPause
			s.awaitRoom()
			continue
		}
		pause = firstPause
		s.await(woken)
	}
}

// await waits for a wake-up, for a place where all were taken, or for the poll interval.
func (s *session) await(woken <-chan struct{}) {
	timer := time.NewTimer(s.poll)
	defer timer.Stop()
	var progress <-chan struct{}
	if s.room() == 0 || s.place.boot == bootScanning {
		progress = s.progress
	}
	select {
	case <-woken:
		signal(s.nudge)
	case <-progress:
	case <-timer.C:
	case <-s.base.Done():
	case <-s.life.Soft.Done():
	}
}

// awaitRoom waits a moment until a read is worth its round trip: half of what may be read ahead is free.
func (s *session) awaitRoom() {
	for 2*s.room() < min(s.window(), readChunk) && !s.ending() {
		timer := time.NewTimer(s.poll)
		select {
		case <-s.progress:
		case <-timer.C:
			timer.Stop()
			return
		case <-s.base.Done():
		case <-s.life.Soft.Done():
		}
		timer.Stop()
	}
}

// window is how many events may be read and not passed by the cursor: some for each lane, and what handlers of this pace do
// in aheadTime.
func (s *session) window() int {
	n := int64(2 * s.opts.concurrency)
	if s.work.batch {
		n = int64(2 * s.opts.concurrency * s.opts.batch)
	}
	if handled := s.handled.Load(); handled > 0 {
		n += int64(s.opts.concurrency) * int64(aheadTime) / (s.busy.Load()/handled + 1)
	}
	return int(min(n, mostAhead))
}

// room is how many more events may be read.
func (s *session) room() int {
	low := s.lowWater()
	for len(s.chunks) > 0 && s.chunks[0].last <= low {
		s.chunks = s.chunks[1:]
	}
	n := 0
	for _, c := range s.chunks {
		n += c.n
	}
	return max(s.window()-n, 0)
}

// readInto reads up to limit events and puts them into the lanes. It returns how many there were. With limit 0 it looks
// only whether the session goes on.
func (s *session) readInto(limit int) (int, error) {
	items, end, err := s.source.read(limit)
	if err != nil || end == 0 {
		return 0, err
	}
	n := len(items)
	if items, err = s.source.filter(items); err != nil {
		return 0, err
	}
	if len(items) > 0 {
		if last := items[len(items)-1].order; last > s.begun {
			if err := s.begin(last + int64(s.window())); err != nil {
				return 0, err
			}
		}
		s.chunks = append(s.chunks, chunk{last: items[len(items)-1].order, n: len(items)})
		s.dispatch(items)
	}
	s.readTo.Store(end)
	return n, nil
}

// dispatch gives each entity's events to its lane.
func (s *session) dispatch(items []*item) {
	if len(s.lanes) == 1 {
		s.lanes[0].put(items)
		return
	}
	parts := make([][]*item, len(s.lanes))
	for _, it := range items {
		i := s.laneOf(it.entityID)
		parts[i] = append(parts[i], it)
	}
	for i, part := range parts {
		if len(part) > 0 {
			s.lanes[i].put(part)
		}
	}
}

func (s *session) laneOf(entityID string) int {
	return int(maphash.String(s.seed, entityID) % uint64(len(s.lanes)))
}

// lowWater is the order up to which everything is handled.
func (s *session) lowWater() int64 {
	low := s.readTo.Load() // before the lanes: what is put into them later is above it
	for _, l := range s.lanes {
		if first := l.first.Load(); first <= low {
			low = first - 1
		}
	}
	return low
}
