package queue

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// startAhead is how much work may be allowed to start with one write, measured by the time that handlers take.
	startAhead = 5 * time.Millisecond
	// writeFraction bounds what writes cost. Where a handler takes less than writeFraction times as
	// long as a write, tasks are allowed to start before they have a lane.
	writeFraction = 10
	// maxStarts bounds the tasks that are allowed to start and have no lane: all that a worker claims ahead.
	maxStarts = maxAhead + maxClaimed
	// startedDelay is how long the database may not know that a task has started.
	startedDelay = 10 * time.Millisecond
	// claimingDelay is the same while a claim is under way: it, or the next one, says so.
	claimingDelay = 100 * time.Millisecond
	// aloneTime is how long a possibly started task runs before others may start beside it.
	aloneTime = 100 * time.Millisecond
	// aloneStored is the same where it has ended, and its outcome is being stored.
	aloneStored = 5 * time.Second
	// forgetStarts is how many writes are forgotten at a time.
	forgetStarts = 100
)

// starts is the record of which tasks of a worker may start, and how far all have started. It decides what the starter
// writes next. It is safe for concurrent use.
type starts struct {
	lanes   int
	latency *latency
	buffer  *prefetch
	gathers bool // a task that has a lane may have to wait

	low   atomic.Int64 // few is true while no more tasks than this wait for a lane; -1 for never
	quiet atomic.Bool  // the next start is to be signalled

	mu        sync.Mutex
	pending   []*job   // claimed and not handed on, in order
	granted   int      // the first of the pending that a claim has allowed to start, after the write under way
	allowed   []*job   // allowed, in order, from the first that is not known to have started
	writes    int64    // the number of the last write
	claiming  int64    // the write that a claim under way may make; 0 for none
	sending   *write   // under way, or nil
	forgotten int64    // writes below this are forgotten
	reached   position // up to here all tasks have started
	// started and may are what was written last.
	started, may position
	unwritten    time.Time     // since when tasks have started that were not written; zero for none
	alone        time.Time     // when a possibly started task was allowed to start
	cost         time.Duration // of a write, on average
}

// allowance is what the claim that is about to be sent may write: if it brings no more than tasks, they may start.
type allowance struct {
	tasks   int
	write   int64
	started position
	atOnce  int // no more than this count as started: each has a free lane
}

// write is one write: jobs may start, and tasks have started up to a position.
type write struct {
	number       int64
	jobs         []*job
	started, may position
	certain      bool   // all jobs, and all that were allowed before, start at once
	forget       *int64 // writes from here to below upTo are forgotten; nil for none
	upTo         int64
	began        time.Time
}

func newStarts(lanes int, gathers bool, l *latency, b *prefetch) *starts {
	s := &starts{lanes: lanes, gathers: gathers, latency: l, buffer: b}
	s.low.Store(-1)
	return s
}

// beforeClaim returns the allowance of a claim that brings so many shared slots. The caller calls claimed, or
// claimFailed, with the answer.
func (s *starts) beforeClaim(slots int) (a allowance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.pending
	if s.sending != nil {
		held = append(s.sending.jobs[:len(s.sending.jobs):len(s.sending.jobs)], held...)
	}
	lanes := s.lanesNow() + slots
	free := lanes - int(s.buffer.allowed.Load()) - len(held)
	if a.tasks = max(s.window(lanes)-len(s.buffer.ready)-len(held), free); a.tasks <= 0 || unmarked(held) < len(held) {
		return allowance{}
	}
	s.writes++
	s.claiming = s.writes
	if a.write, a.started = s.writes, s.advance(); len(held) == 0 {
		a.atOnce = s.atOnce(free)
	}
	return a
}

func (s *starts) claimFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claiming = 0
}

// atOnce is how many tasks start at once, given the free lanes. In a batch worker none does.
func (s *starts) atOnce(free int) int {
	if s.gathers {
		return 0
	}
	return free
}

// free is how many lanes have no task, not even one that is allowed to start.
func (s *starts) free() int { return s.lanesNow() - int(s.buffer.allowed.Load()) }

// lanesNow is how many tasks can run at once: as many as have slots, where workers share them.
func (s *starts) lanesNow() int {
	if s.buffer.slots.share != nil {
		return s.buffer.slots.count()
	}
	return s.lanes
}

// claimed hands on the tasks of a claim, in the order of their positions, as far as they may start. It reports whether
// there is something to write.
func (s *starts) claimed(jobs []*job, a allowance) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claiming = 0
	if len(jobs) == 0 {
		return false
	}
	s.pending = append(s.pending, jobs...)
	if len(jobs) <= a.tasks {
		s.may, s.unwritten = endOf(jobs[0].claim), time.Time{}
		if s.started = later(s.started, a.started); len(jobs) <= a.atOnce {
			s.started, s.allowed = s.may, nil
		}
		s.granted = unmarked(s.pending)
	}
	if s.sending == nil {
		s.handOn()
	}
	return len(s.pending) > 0 || s.writes-s.forgotten >= forgetStarts
}

// handOn hands on the tasks that a claim has allowed to start.
func (s *starts) handOn() {
	jobs := s.pending[:s.granted]
	s.pending, s.granted = s.pending[s.granted:], 0
	if s.started != s.may {
		s.allowed = append(s.allowed, jobs...)
	}
	s.buffer.put(jobs)
}

// unmarked is how many of the jobs come before the first that is possibly started.
func unmarked(jobs []*job) int {
	for i, j := range jobs {
		if j.possiblyStarted {
			return i
		}
	}
	return len(jobs)
}

// patience is how long to wait for a signal. Tasks that have started are written soon, and possibly
// started tasks follow each other, also without one. Zero is for ever.
func (s *starts) patience() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unwritten.IsZero() {
		return max(s.delay()-time.Since(s.unwritten), time.Millisecond)
	}
	s.quiet.Store(true)
	if len(s.pending) > 0 && s.pending[0].possiblyStarted {
		return aloneTime
	}
	return 0
}

// next returns the next write, or nil.
func (s *starts) next() *write {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, certain := s.mayStart()
	w := &write{jobs: s.pending[:n:n], started: s.advance(), may: s.may, began: time.Now()}
	if n > 0 {
		last := positionOf(w.jobs[n-1])
		if w.may = later(s.may, last); certain {
			w.certain, w.started = true, last
		}
	}
	s.forget(w)
	if n == 0 && w.forget == nil && !s.overdue(w) {
		return nil
	}
	s.pending, s.allowed, s.sending = s.pending[n:], append(s.allowed, w.jobs...), w
	s.writes++
	w.number, s.unwritten = s.writes, time.Time{}
	return w
}

// overdue reports whether tasks have started, and not ended, that should be written by now.
func (s *starts) overdue(w *write) bool {
	switch {
	case w.started == s.started:
		s.unwritten = time.Time{}
	case s.buffer.unsettled.Load() == s.buffer.waiting.Load(): // all that have started are over
		s.started, s.unwritten = w.started, time.Time{}
	case s.unwritten.IsZero():
		s.unwritten = w.began
	default:
		return w.began.Sub(s.unwritten) >= s.delay()
	}
	return false
}

// delay is how long the database may not know that a task has started.
func (s *starts) delay() time.Duration {
	if s.claiming > 0 {
		return claimingDelay
	}
	return startedDelay
}

// forget has a write forget earlier ones, once there are enough. The write of a claim under way may
// be of later tasks than this one: it stays, and so do those after it.
func (s *starts) forget(w *write) {
	w.upTo = s.writes + 1
	if s.claiming > 0 {
		w.upTo = s.claiming
	}
	if from := s.forgotten; w.upTo-from >= forgetStarts {
		w.forget = &from
	}
}

// advance forgets the allowed tasks that have started, and returns the position up to which all have.
func (s *starts) advance() position {
	i := 0
	for ; i < len(s.allowed) && s.allowed[i].passed.Load(); i++ {
		s.reached = later(s.reached, positionOf(s.allowed[i]))
	}
	s.allowed = s.allowed[i:]
	s.reached = later(s.reached, s.started)
	return s.reached
}

// mayStart is how many pending tasks may start with the next write; a possibly started one is alone.
// certain says that each has a free lane, as all that were allowed before have, so that they start
// at once.
func (s *starts) mayStart() (n int, certain bool) {
	if len(s.pending) == 0 {
		s.low.Store(-1)
		return 0, false
	}
	s.low.Store(math.MaxInt64) // whatever changes from here on is a signal
	free, ready := s.free(), len(s.buffer.ready)
	window := max(s.window(s.lanesNow()), free+ready)
	s.low.Store(int64(window / 2))
	n = max(0, min(window-ready, len(s.pending)))
	if ready > 0 && 2*n < min(window, len(s.pending)) {
		return 0, false // one write for more tasks, soon
	}
	if n = unmarked(s.pending[:n]); n == 0 && free > 0 && s.pending[0].possiblyStarted && s.mayStartAlone() {
		return 1, true
	}
	return n, n > 0 && n <= s.atOnce(free)
}

// heldUp reports whether a task that must start alone waits for others that may start and have not.
// In a batch worker those may wait for more tasks, which are behind it.
func (s *starts) heldUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 && s.pending[0].possiblyStarted && len(s.allowed) > 0
}

// mayStartAlone reports whether the outcomes of all tasks that have started are stored; or all have started, and the
// last that was alone has been so for long enough. One that has ended is charged for the next one's crash until its
// outcome is stored, which takes long where the database is busy.
func (s *starts) mayStartAlone() bool {
	enough, ended := aloneTime, s.buffer.allowed.Load() == 0
	if ended {
		enough = aloneStored
	}
	stored := ended && s.buffer.unsettled.Load() == s.buffer.waiting.Load()
	if !stored && (len(s.allowed) > 0 || time.Since(s.alone) < enough) {
		return false
	}
	s.alone = time.Now()
	return true
}

// window is how many tasks may be allowed to start before they have one of these lanes: none where handlers are slow.
func (s *starts) window(lanes int) int {
	perTask := s.latency.average()
	if perTask <= 0 || perTask > writeFraction*s.cost {
		return 0
	}
	ahead := max(startAhead, writeFraction*s.cost)
	return int(min(int64(lanes)*int64(ahead)/int64(perTask), maxStarts))
}

// undo takes back the tasks of a write that failed.
func (s *starts) undo(w *write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(w.jobs)
	s.sending, s.granted = nil, 0
	s.allowed = s.allowed[:len(s.allowed)-n]
	s.pending = append(w.jobs[:n:n], s.pending...)
}

// sent hands on the tasks of a write that was committed.
func (s *starts) sent(w *write) {
	s.buffer.put(w.jobs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started, s.may, s.sending = later(s.started, w.started), later(s.may, w.may), nil
	if w.certain {
		s.allowed = nil
	}
	s.handOn()
	if w.forget != nil {
		s.forgotten = w.upTo
	}
	s.cost += (time.Since(w.began) - s.cost) / 8
}

// few reports whether so few tasks wait for a lane that more should be allowed to start.
func (s *starts) few() bool {
	low := s.low.Load()
	return low >= 0 && int64(len(s.buffer.ready)) <= low
}

// firstAfterQuiet reports, once, whether the next start was to be signalled.
func (s *starts) firstAfterQuiet() bool { return s.quiet.Load() && s.quiet.CompareAndSwap(true, false) }

// takePending takes the tasks that may not start yet.
func (s *starts) takePending() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := s.pending
	s.pending, s.granted = nil, 0
	return pending
}
