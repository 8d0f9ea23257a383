package queue

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// startAhead is how much work may be allowed to start with one write, measured by the time that handlers take.
	startAhead = 5 * time.Millisecond
	// writeFraction bounds what writes cost. Where a handler takes less than writeFraction times as
	// long as a write, tasks are allowed to start before they have a slot.
	writeFraction = 10
	// maxStarts bounds the tasks that may start with one write.
	maxStarts = 1000
	// startedDelay is how long the database may not know that a task has started.
	startedDelay = 10 * time.Millisecond
	// aloneTime is how long a possibly started task runs before others may start beside it.
	aloneTime = 100 * time.Millisecond
	// forgetStarts is how many writes are forgotten at a time.
	forgetStarts = 100
)

// position is the place of a task in the order of starts: the claim number, MaxPriority - priority, and seq.
type position [3]int64

func positionOf(j *job) position { return position{j.claim, int64(MaxPriority - j.priority), j.seq} }

// endOf is the position behind all tasks of a claim, as strunk_claim writes it.
func endOf(claim int64) position { return position{claim, levels, 0} }

// starter lets claimed tasks start. It writes ahead, in strunk_starts, how far the worker may start
// them, many tasks at a time; and soon after how far it has started them. So the rescue of a worker
// that was killed knows which tasks had started: an attempt is spent by a handler that started, and
// by nothing else.
//
// A task that may have started, but is not known to have, costs no attempt. It is possibly started
// from then on: it starts alone, so that its next crash counts, and counts for no other task.
type starter struct {
	end      context.Context // of all statements
	rt       core.Runtime
	queue    string
	worker   int64
	slots    int
	latency  *latency
	buffer   *prefetch
	passage  *passage
	giveBack func(*job) // for tasks that may not start yet
	gathers  bool       // a task that has a slot may have to wait
	carries  bool       // no task counts as started: nothing is written

	wake  chan struct{} // signalled when there may be something to write
	low   atomic.Int64  // nudge signals while no more tasks than this wait for a slot; -1 for never
	quiet atomic.Bool   // the next start is to be signalled
	done  chan struct{} // closed by close

	mu        sync.Mutex
	pending   []*job   // claimed and not allowed to start, in order
	allowed   []*job   // allowed, in order, from the first that is not known to have started
	writes    int64    // the number of the last write
	claiming  int64    // the write that a claim under way may make; 0 for none
	sending   bool     // a write is under way
	forgotten int64    // writes below this are forgotten
	reached   position // up to here all tasks have started
	// started and may are what was written last.
	started, may position
	unwritten    time.Time     // since when tasks have started that were not written; zero for none
	alone        time.Time     // when a possibly started task was allowed to start
	cost         time.Duration // of a write, on average
}

func newStarter(end context.Context, rt core.Runtime, w *worker, lease int64, l *latency, b *prefetch) *starter {
	s := &starter{end: end, rt: rt, queue: w.def.name, worker: lease, slots: w.opts.concurrency, latency: l, buffer: b,
		gathers: w.batch != nil || w.turns != nil, carries: w.carries, wake: make(chan struct{}, 1),
		done: make(chan struct{})}
	s.low.Store(-1)
	return s
}

// allowance is what the claim that is about to be sent may write: if it brings no more than tasks, they may start.
type allowance struct {
	tasks   int
	write   int64
	started position
	atOnce  int // no more than this count as started: each has a free slot
}

// beforeClaim returns the allowance of a claim. The caller calls claimed, or claimFailed, with the answer.
func (s *starter) beforeClaim() (a allowance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.carries || s.sending || len(s.pending) > 0 {
		return a
	}
	free, ready := s.free(), len(s.buffer.ready)
	if a.tasks = max(s.window()-ready, free); a.tasks <= 0 {
		return allowance{}
	}
	s.writes++
	s.claiming = s.writes
	a.write, a.started, a.atOnce = s.writes, s.advance(), s.atOnce(free)
	return a
}

func (s *starter) claimFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claiming = 0
}

// atOnce is how many tasks start at once, given the free slots. In a batch worker none does.
func (s *starter) atOnce(free int) int {
	if s.gathers {
		return 0
	}
	return free
}

// free is how many slots have no task, not even one that is allowed to start.
func (s *starter) free() int { return s.slots - int(s.buffer.allowed.Load()) }

// claimed hands on the tasks of a claim, in the order of their positions.
func (s *starter) claimed(jobs []*job, a allowance) {
	s.buffer.claimed(len(jobs))
	if s.carries {
		s.buffer.put(jobs)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claiming = 0
	if len(jobs) == 0 {
		return
	}
	n := 0
	if len(jobs) <= a.tasks {
		s.may = endOf(jobs[0].claim)
		if s.started = later(s.started, a.started); len(jobs) <= a.atOnce {
			s.started, s.allowed = s.may, nil
		}
		n = unmarked(jobs)
	}
	s.pending = append(s.pending, jobs[n:]...)
	if s.started != s.may {
		s.allowed = append(s.allowed, jobs[:n]...)
	}
	s.buffer.put(jobs[:n])
	if len(s.pending) > 0 || s.writes-s.forgotten >= forgetStarts {
		signal(s.wake)
	}
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

// start records that a task has started, or that it does not have to.
func (s *starter) start(j *job) {
	if j.passed.Load() {
		return
	}
	if j.passed.Store(true); s.quiet.Load() && s.quiet.CompareAndSwap(true, false) {
		signal(s.wake)
	}
	s.nudge()
}

// nudge is called when a task starts or ends.
func (s *starter) nudge() {
	if low := s.low.Load(); low >= 0 && int64(len(s.buffer.ready)) <= low {
		signal(s.wake)
	}
}

// drop gives back the tasks that may not start yet.
func (s *starter) drop() {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, j := range pending {
		s.buffer.dropped(false)
		s.giveBack(j)
	}
}

// close ends run, once it has handed on or given back all tasks.
func (s *starter) close() { close(s.done) }

// run allows tasks to start until close, and then closes the buffer.
func (s *starter) run() {
	defer s.buffer.close()
	defer s.drop()
	pause := firstPause
	for !isClosed(s.done) {
		w := s.next()
		if w == nil {
			s.passage.through(startErrand)
			s.await(s.patience())
			continue
		}
		if err := s.send(w); err != nil {
			logWarning(s.rt, s.queue, "writing which tasks may start failed; trying again", err)
			s.undo(w)
			s.await(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = firstPause
		s.sent(w)
	}
}

// await waits for a signal, for close, or for this long; zero is for ever.
func (s *starter) await(wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s.wake:
	case <-over:
	case <-s.done:
	}
}

// patience is how long to wait for a signal. Tasks that have started are written soon, and possibly
// started tasks follow each other, also without one. Zero is for ever.
func (s *starter) patience() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unwritten.IsZero() {
		return max(startedDelay-time.Since(s.unwritten), time.Millisecond)
	}
	s.quiet.Store(true)
	if len(s.pending) > 0 && s.pending[0].possiblyStarted {
		return aloneTime
	}
	return 0
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

// next returns the next write, or nil.
func (s *starter) next() *write {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, certain := s.share()
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
	s.pending, s.allowed, s.sending = s.pending[n:], append(s.allowed, w.jobs...), true
	s.writes++
	w.number, s.unwritten = s.writes, time.Time{}
	return w
}

// overdue reports whether tasks have started, and not ended, that should be written by now.
func (s *starter) overdue(w *write) bool {
	switch {
	case w.started == s.started:
		s.unwritten = time.Time{}
	case s.buffer.unsettled.Load() == s.buffer.waiting.Load(): // all that have started are over
		s.started, s.unwritten = w.started, time.Time{}
	case s.unwritten.IsZero():
		s.unwritten = w.began
	default:
		return w.began.Sub(s.unwritten) >= startedDelay
	}
	return false
}

// forget has a write forget earlier ones, once there are enough. The write of a claim under way may
// be of later tasks than this one: it stays, and so do those after it.
func (s *starter) forget(w *write) {
	w.upTo = s.writes + 1
	if s.claiming > 0 {
		w.upTo = s.claiming
	}
	if from := s.forgotten; w.upTo-from >= forgetStarts {
		w.forget = &from
	}
}

// advance forgets the allowed tasks that have started, and returns the position up to which all have.
func (s *starter) advance() position {
	i := 0
	for ; i < len(s.allowed) && s.allowed[i].passed.Load(); i++ {
		s.reached = later(s.reached, positionOf(s.allowed[i]))
	}
	s.allowed = s.allowed[i:]
	s.reached = later(s.reached, s.started)
	return s.reached
}

func later(a, b position) position {
	for i := range a {
		if a[i] != b[i] {
			if a[i] > b[i] {
				return a
			}
			return b
		}
	}
	return a
}

// share is how many pending tasks may start with the next write; a possibly started one is alone.
// certain says that each has a free slot, as all that were allowed before have, so that they start
// at once.
func (s *starter) share() (n int, certain bool) {
	if len(s.pending) == 0 {
		s.low.Store(-1)
		return 0, false
	}
	s.low.Store(math.MaxInt64) // whatever changes from here on is a signal
	free, ready := s.free(), len(s.buffer.ready)
	window := max(s.window(), free+ready)
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

// mayStartAlone reports whether the outcomes of all tasks that have started are stored; or all have
// started, and the last that was alone has been so for long enough.
func (s *starter) mayStartAlone() bool {
	if s.buffer.unsettled.Load() == s.buffer.waiting.Load() && s.buffer.allowed.Load() == 0 {
		s.alone = time.Now()
		return true
	}
	if len(s.allowed) > 0 || time.Since(s.alone) < aloneTime {
		return false
	}
	s.alone = time.Now()
	return true
}

// window is how many tasks may be allowed to start before they have a slot: none where handlers are slow.
func (s *starter) window() int {
	perTask := s.latency.average()
	if perTask <= 0 || perTask > writeFraction*s.cost {
		return 0
	}
	ahead := max(startAhead, writeFraction*s.cost)
	return int(min(int64(s.slots)*int64(ahead)/int64(perTask), maxStarts))
}

// undo takes back the tasks of a write that failed.
func (s *starter) undo(w *write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(w.jobs)
	s.sending = false
	s.allowed = s.allowed[:len(s.allowed)-n]
	s.pending = append(w.jobs[:n:n], s.pending...)
}

// sent hands on the tasks of a write that was committed.
func (s *starter) sent(w *write) {
	s.buffer.put(w.jobs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started, s.may, s.sending = later(s.started, w.started), later(s.may, w.may), false
	if w.certain {
		s.allowed = nil
	}
	if w.forget != nil {
		s.forgotten = w.upTo
	}
	s.cost += (time.Since(w.began) - s.cost) / 8
}

// sqlAllowStarts writes ahead, as write $2 of worker $1, that its tasks have started up to $3 and
// may start up to $4. It forgets the writes from $5 (null: none) up to $6.
const sqlAllowStarts = `SELECT {schema}.strunk_allow_starts($1::bigint, $2::bigint, $3::bigint[], $4::bigint[],
	$5::bigint, $6::bigint)`

func (s *starter) send(w *write) (err error) {
	s.passage.begin(startErrand)
	defer func() { s.passage.end(startErrand, err) }()
	statements := []core.Statement{{SQL: sqlAsync}, {SQL: s.rt.SQL(sqlAllowStarts),
		Args: []any{s.worker, w.number, w.started[:], w.may[:], w.forget, w.upTo}, Scan: heldLease}}
	if s.rt.Settings().SyncClaims {
		statements = statements[1:]
	}
	ctx, cancel := context.WithTimeout(s.end, claimTimeout)
	defer cancel()
	conn, err := s.rt.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return core.OneMessage(ctx, conn.Conn(), statements...)
}

func heldLease(rows pgx.Rows) error {
	held, err := pgx.CollectOneRow(rows, pgx.RowTo[bool])
	if err == nil && !held {
		err = fmt.Errorf("strunk/queue: start: %w", ErrLeaseLost)
	}
	return err
}
