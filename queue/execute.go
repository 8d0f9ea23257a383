package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// jobState says who may settle a job: its handler's return, or the watch that let go of it.
type jobState struct {
	taken    atomic.Int32 // by whom; 0 while nobody has
	deadline atomic.Int64 // unix nanoseconds of the handler's timeout
	// cancelled is set when the task is to be cancelled while its handler runs.
	cancelled atomic.Pointer[cancelled]
}

const (
	byHandler int32 = iota + 1
	byWatch
)

// take returns true for the first caller.
func (st *jobState) take(by int32) bool { return st.taken.CompareAndSwap(0, by) }

// abandoned reports whether the watch has let go of the job, and of the slot whose handler does not return.
func (st *jobState) abandoned() bool { return st.taken.Load() == byWatch }

// slots are a session's executors: as many goroutines as handlers may run at once.
type slots struct {
	s       *session
	wg      sync.WaitGroup
	active  atomic.Int64
	mu      sync.Mutex
	current map[*slot]struct{}
}

// slot is one executor. An abandoned one ends when its handler returns; another has taken its place.
type slot struct {
	job atomic.Pointer[job]

	mu     sync.Mutex
	base   context.Context // of its jobs, one after the other, until one is cancelled
	cancel context.CancelCauseFunc
}

// enter makes j the slot's job and returns what the context of its handler derives from.
func (sl *slot) enter(base context.Context, j *job) context.Context {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.base == nil || sl.base.Err() != nil {
		sl.base, sl.cancel = context.WithCancelCause(base)
	}
	sl.job.Store(j)
	return sl.base
}

func (sl *slot) leave() {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.job.Store(nil)
}

// doom ends the context of the slot's job, if it is the one meant. From then on the job is overdue, unless it is in a batch, which
// may go on without it.
func (sl *slot) doom(id int64, text string, inBatch bool) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	j := sl.job.Load()
	if j == nil || j.id != id || !j.state.cancelled.CompareAndSwap(nil, &cancelled{text}) {
		return
	}
	if !inBatch {
		j.state.deadline.Store(time.Now().UnixNano())
	}
	sl.cancel(j.state.cancelled.Load())
}

// doom ends the context of a running job.
func (l *slots) doom(id int64, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for sl := range l.current {
		sl.doom(id, text, l.s.batches != nil)
	}
}

func (l *slots) start(s *session) {
	l.s, l.current = s, map[*slot]struct{}{}
	for range s.opts.concurrency {
		l.add()
	}
}

func (l *slots) add() {
	sl := &slot{}
	l.mu.Lock()
	l.current[sl] = struct{}{}
	l.mu.Unlock()
	l.wg.Add(1)
	go l.serve(sl)
}

func (l *slots) wait() { l.wg.Wait() }

func (l *slots) running() int { return int(l.active.Load()) }

func (l *slots) serve(sl *slot) {
	var current *job
	defer func() { l.end(sl, current) }()
	for j := range l.s.ready {
		if !l.begin(j) {
			continue
		}
		j.state.deadline.Store(time.Now().Add(j.timeout).UnixNano())
		current = j
		l.s.execute(sl.enter(l.s.base, j), j)
		sl.leave()
		if j.state.abandoned() {
			return
		}
		current = nil
		l.ended()
		signal(l.s.room)
	}
}

// begin counts j as running, or does with it what is to be done instead.
func (l *slots) begin(j *job) bool {
	turn := l.s.turns.take(l.s.life.Soft, l.s.base)
	switch text, doomed := l.s.orders.doom(j); {
	case !turn || l.s.life.Soft.Err() != nil || l.s.base.Err() != nil || l.s.orders.paused.Load():
		l.s.giveBack(j)
	case doomed:
		l.s.bury(j, text)
	default:
		l.active.Add(1)
		if l.s.waiting.Add(-1) == 0 { // the feeder may have looked just before, and no task may end for long
			signal(l.s.room)
		}
		return true
	}
	if turn {
		l.s.turns.give()
	}
	return false
}

// ended counts a handler as running no more.
func (l *slots) ended() {
	l.active.Add(-1)
	l.s.turns.give()
}

// end is the end of a slot's goroutine: there are no more jobs, or its handler was abandoned and the slot is gone already, or
// the handler has ended the goroutine (runtime.Goexit) and another takes its place.
func (l *slots) end(sl *slot, current *job) {
	if current != nil && current.state.abandoned() {
		return
	}
	l.remove(sl)
	if current != nil {
		l.ended()
		l.add()
		signal(l.s.room)
	}
	l.wg.Done()
}

func (l *slots) remove(sl *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.current, sl)
}

// abandonOverdue lets go of handlers that have not returned abandonGrace after their contexts ended: at the timeout, or at
// ended (zero: not yet), when all contexts did. Their tasks are given back and their places filled.
func (l *slots) abandonOverdue(now, ended time.Time) {
	stuck := map[*slot]*job{}
	l.mu.Lock()
	for sl := range l.current {
		j := sl.job.Load()
		if j == nil {
			continue
		}
		over := time.Unix(0, j.state.deadline.Load())
		if !ended.IsZero() && ended.Before(over) {
			over = ended
		}
		if now.Sub(over) > abandonGrace {
			stuck[sl] = j
		}
	}
	l.mu.Unlock()
	for sl, j := range stuck {
		l.abandon(sl, j, ended)
	}
}

// abandon lets go of a slot, unless its job has ended meanwhile: the slot may have begun another by now.
func (l *slots) abandon(sl *slot, j *job, ended time.Time) {
	if !j.state.take(byWatch) {
		return
	}
	l.remove(sl)
	l.ended()
	l.s.batches.abandoned(j)
	l.s.rt.Logger().Error("strunk: a handler did not return after its context had ended; its task is given back and its goroutine left behind",
		"queue", j.queue, "task", j.id, "attempt", j.attempt)
	if ended.IsZero() {
		if c := j.state.cancelled.Load(); c != nil {
			l.s.finisher.add(outcome{job: j, kind: outcomeBury, err: c})
		} else {
			l.s.finisher.add(l.s.failed(j, fmt.Errorf("%w, and the handler did not return", ErrTimeout)))
		}
		l.add()
	} else {
		l.s.finisher.add(outcome{job: j, kind: outcomeRetry, refund: true})
	}
	l.wg.Done()
	signal(l.s.room)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// execute runs the handler and passes on what came of it, also when the handler ends its goroutine.
func (s *session) execute(base context.Context, j *job) {
	began := time.Now()
	ctx, cancel := s.attempt(base, j)
	err := errors.New("the handler ended its goroutine (runtime.Goexit)")
	defer func() {
		ended := context.Cause(ctx)
		cancel()
		s.pace.ran(j.inBatch.handled(time.Since(began)))
		if j.state.take(byHandler) {
			s.finisher.add(s.judge(j, err, ended))
		}
	}()
	err = s.protect(ctx, j)
}

// judge calls the methods of the handler's error, which is the user's code.
func (s *session) judge(j *job, err, ended error) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = s.failed(j, fmt.Errorf("the handler returned a %T whose methods panic: %v", err, r))
		}
	}()
	return s.outcome(j, err, ended)
}

// protect turns a panic into an error.
func (s *session) protect(ctx context.Context, j *job) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		}
	}()
	return s.work(ctx, j)
}

// outcome decides what becomes of a task. ended is why the handler's context had ended when it returned.
func (s *session) outcome(j *job, err, ended error) outcome {
	switch {
	case j.settled:
		return outcome{job: j, kind: outcomeSettled}
	case err == nil:
		return outcome{job: j, kind: outcomeComplete}
	}
	if o, ok := asked(j, err); ok {
		return o
	}
	switch {
	case errors.Is(ended, ErrCancelled):
		return outcome{job: j, kind: outcomeBury, err: ended}
	case errors.Is(ended, ErrShutdown) || errors.Is(ended, ErrLeaseLost) || (s.inTx != nil && errors.Is(err, ErrLeaseLost)):
		return outcome{job: j, kind: outcomeRetry, refund: true} // not the handler's fault
	case errors.Is(ended, ErrTimeout):
		return s.failed(j, fmt.Errorf("%w after %v: %w", ErrTimeout, j.timeout, err))
	}
	return s.failed(j, err)
}

// failed is the outcome of a failed attempt: another one later, or a dead letter.
func (s *session) failed(j *job, err error) outcome {
	o := outcome{job: j, kind: outcomeRetry, err: err}
	if errors.Is(err, ErrPoison) || j.attempt >= j.maxAttempts {
		o.kind = outcomeBury
		return o
	}
	o.delay = s.retryDelay(j.attempt, err)
	return o
}

// retryDelay asks the policy, which is the user's code.
func (s *session) retryDelay(attempt int, err error) (d time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			s.rt.Logger().Error("strunk: a retry policy panicked; using the default", "queue", s.def.name, "panic", r)
			d = DefaultBackoff.Delay(attempt, err)
		}
	}()
	return min(max(s.opts.retry.Delay(attempt, err), 0), longestDuration)
}
