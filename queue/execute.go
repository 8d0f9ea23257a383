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
	taken    atomic.Bool
	deadline atomic.Int64 // unix nanoseconds of the handler's timeout
	// cancelled is set when the task is to be cancelled while its handler runs.
	cancelled atomic.Pointer[cancelled]
}

// take returns true for the first caller.
func (st *jobState) take() bool { return st.taken.CompareAndSwap(false, true) }

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
	job       atomic.Pointer[job]
	abandoned atomic.Bool

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

// doom ends the context of the slot's job, if it is the one meant. From then on the job is overdue.
func (sl *slot) doom(id int64, text string) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	j := sl.job.Load()
	if j == nil || j.id != id || !j.state.cancelled.CompareAndSwap(nil, &cancelled{text}) {
		return
	}
	j.state.deadline.Store(time.Now().UnixNano())
	sl.cancel(j.state.cancelled.Load())
}

// doom ends the context of a running job.
func (l *slots) doom(id int64, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for sl := range l.current {
		sl.doom(id, text)
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
	defer func() {
		if !sl.abandoned.Load() {
			l.remove(sl)
			l.wg.Done()
		}
	}()
	for j := range l.s.ready {
		if l.s.life.Soft.Err() != nil || l.s.base.Err() != nil {
			l.s.giveBack(j)
			continue
		}
		if l.s.orders.paused.Load() {
			l.s.giveBack(j)
			continue
		}
		if text, ok := l.s.orders.doom(j); ok {
			l.s.bury(j, text)
			continue
		}
		l.active.Add(1)
		l.s.waiting.Add(-1)
		j.state.deadline.Store(time.Now().Add(j.timeout).UnixNano())
		l.s.execute(sl.enter(l.s.base, j), j)
		sl.leave()
		if sl.abandoned.Load() {
			return
		}
		l.active.Add(-1)
		signal(l.s.room)
	}
}

func (l *slots) remove(sl *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.current, sl)
}

// abandonOverdue lets go of handlers that have not returned abandonGrace after their contexts ended: at the timeout, or at
// ended (zero: not yet), when all contexts did. Their tasks are given back and their places filled.
func (l *slots) abandonOverdue(now, ended time.Time) {
	l.mu.Lock()
	var stuck []*slot
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
			stuck = append(stuck, sl)
		}
	}
	l.mu.Unlock()
	for _, sl := range stuck {
		l.abandon(sl, ended)
	}
}

func (l *slots) abandon(sl *slot, ended time.Time) {
	j := sl.job.Load()
	if j == nil || !j.state.take() {
		return
	}
	sl.abandoned.Store(true)
	l.remove(sl)
	l.active.Add(-1)
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

// execute runs the handler and passes on what came of it.
func (s *session) execute(base context.Context, j *job) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(context.WithValue(base, contextKey{}, j), j.timeout, ErrTimeout)
	err := s.protect(ctx, j)
	ended := context.Cause(ctx)
	cancel()
	s.pace.ran(time.Since(began))
	if !j.state.take() {
		return // abandoned
	}
	s.finisher.add(s.outcome(j, err, ended))
}

// protect turns a panic into an error.
func (s *session) protect(ctx context.Context, j *job) (err error) {
	finished := false
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		} else if !finished {
			err = errors.New("the handler ended its goroutine (runtime.Goexit)")
		}
	}()
	err = s.work(ctx, j)
	finished = true
	return err
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
