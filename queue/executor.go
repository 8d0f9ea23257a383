package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// watchInterval is how often running handlers are looked at.
	watchInterval = 250 * time.Millisecond
	// idleWatchInterval is how often it is looked whether handlers are running, until the session ends.
	idleWatchInterval = time.Second
)

// executor runs the handlers of a session, in as many goroutines (lanes) as may run at once.
type executor struct {
	rt          core.Runtime
	concurrency int
	life        core.Life
	base        context.Context // what the contexts of handlers derive from
	buffer      *prefetch
	starter     *starter
	latency     *latency
	control     *controller
	judge       *judge
	completer   *completer
	batches     *batcher // of a batch worker; nil for others
	work        work     // the handler in its middleware: see worker.handler
	permits     permits
	onDemand    bool // lanes are made when tasks have slots, which workers share
	counted     *counted

	wg    sync.WaitGroup
	mu    sync.Mutex
	lanes map[*lane]struct{}
}

// start begins to take tasks from the prefetch buffer, until that is closed.
func (x *executor) start() {
	x.mu.Lock()
	x.lanes = map[*lane]struct{}{}
	x.mu.Unlock()
	if x.onDemand {
		x.wg.Go(func() {
			for {
				x.buffer.slots.enter()
				j, ok := <-x.buffer.ready
				if !ok {
					return
				}
				x.add(j)
			}
		})
		return
	}
	for range x.concurrency {
		x.add(nil)
	}
}

func (x *executor) wait() { x.wg.Wait() }

// add begins a lane: for one task and those that wait behind it, or (nil) for all that will come.
func (x *executor) add(only *job) {
	l := &lane{}
	x.mu.Lock()
	x.lanes[l] = struct{}{}
	x.mu.Unlock()
	x.wg.Add(1)
	go x.serve(l, only)
}

// replace puts a lane in the place of one that has gone.
func (x *executor) replace() {
	if !x.onDemand {
		x.add(nil)
	}
}

func (x *executor) serve(l *lane, only *job) {
	var current *job
	defer func() { x.end(l, current) }()
	if only != nil {
		defer l.close()
		for j := only; j != nil && x.handle(l, j, &current); j = x.buffer.next() {
		}
		return
	}
	for j := range x.buffer.ready {
		if !x.handle(l, j, &current) {
			return
		}
	}
}

// handle begins a task and runs its handler; current is the task while it runs. It reports false where the task was
// abandoned, and the lane with it.
func (x *executor) handle(l *lane, j *job, current **job) bool {
	if !x.begin(j) {
		x.buffer.slots.leave()
		return true
	}
	j.state.deadline.Store(time.Now().Add(j.timeout).UnixNano())
	*current = j
	x.execute(l.enter(x.base, j), j)
	l.leave()
	if j.state.abandoned() {
		return false
	}
	*current = nil
	x.ended()
	signal(x.buffer.room)
	return true
}

// begin counts a task as running and reports true. A task that must not begin is given back or cancelled instead.
func (x *executor) begin(j *job) bool {
	permit := x.permits.take(x.life.Soft, x.base)
	text, cancel := x.control.cancelRequested(x.base, j)
	switch {
	case !permit || x.life.Soft.Err() != nil || x.base.Err() != nil || x.control.isPaused(),
		x.control.keyHeld(x.base, j):
		x.giveBack(j)
	case cancel:
		x.drop(j, outcome{job: j, kind: outcomeCancelled, err: &cancelled{text}})
	case j.deadline.passed():
		x.drop(j, outcome{job: j, kind: outcomeLate})
	default:
		j.deadline.begin()
		x.buffer.began()
		if x.batches == nil {
			x.starter.pass(j)
		}
		return true
	}
	if permit {
		x.permits.give()
	}
	return false
}

// giveBack returns a task that no handler has begun. Its attempt is not spent.
func (x *executor) giveBack(j *job) { x.drop(j, givenBack(j)) }

// drop settles a task that was allowed to start and does not.
func (x *executor) drop(j *job, o outcome) {
	x.buffer.dropped(true)
	x.starter.pass(j)
	x.completer.add(o)
}

// giveBackReady gives back what is claimed and not begun.
func (x *executor) giveBackReady() {
	x.starter.drop()
	x.buffer.drain(x.giveBack)
}

// ended counts a handler as running no more.
func (x *executor) ended() {
	x.buffer.ended()
	x.permits.give()
	x.starter.nudge()
}

// end is the end of a lane's goroutine, for one of three reasons: there are no more tasks; its
// handler was abandoned, and the lane is gone already; the handler has ended the goroutine
// (runtime.Goexit), and another lane replaces it.
func (x *executor) end(l *lane, current *job) {
	if current != nil && current.state.abandoned() {
		return
	}
	x.remove(l)
	if current != nil {
		x.ended()
		x.replace()
		signal(x.buffer.room)
	}
	x.wg.Done()
}

func (x *executor) remove(l *lane) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.lanes, l)
}

// cancel ends the context of a running task that was claimed before looked.
func (x *executor) cancel(id int64, text string, looked time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for l := range x.lanes {
		l.cancelTask(id, text, looked, x.batches != nil)
	}
}

// watch abandons handlers that do not return, and gives back tasks that wait behind slow ones, until stop is closed.
// ended returns when all contexts ended; zero for not yet. All sessions of the process look at the same moments, which
// wakes it once for all of them.
func (x *executor) watch(stop <-chan struct{}, ended func() time.Time) {
	var before stall
	soft := x.life.Soft.Done()
	for {
		interval := watchInterval
		if soft != nil && x.idle() {
			interval = idleWatchInterval
		}
		timer := time.NewTimer(x.control.rt.Rhythm().Next(time.Now(), interval))
		select {
		case <-stop:
			timer.Stop()
			return
		case <-soft: // what has just begun may have to end soon
			soft = nil
		case now := <-timer.C:
			x.abandonOverdue(now, ended())
			if before = x.stall(before); before.looks == stalledLooks {
				x.giveBackReady()
				before = stall{}
			}
		}
	}
}

// idle reports whether no handler runs and no task waits for one.
func (x *executor) idle() bool {
	return x.buffer.running.Load() == 0 && x.buffer.waiting.Load() == 0 && len(x.buffer.ready) == 0
}

// stall is how many looks in a row have found that tasks wait for handlers of which none has ended.
type stall struct {
	looks   int
	handled int64 // handlers that had ended at the last look
}

// stalledLooks is after how many such looks tasks are given back: the first may be of tasks that have just come.
const stalledLooks = 2

// stall looks whether tasks that were claimed ahead wait for handlers: what was claimed while handlers were quick may
// find itself behind slow ones, for hours, while other workers have nothing to do.
func (x *executor) stall(before stall) stall {
	now := stall{looks: before.looks + 1, handled: x.latency.handled.Load()}
	held := x.buffer.waiting.Load() > 0 && x.buffer.running.Load() >= int64(x.concurrency)
	if x.onDemand { // lanes are made for tasks that have a slot
		held = len(x.buffer.ready) > 0
	}
	if !held || now.handled != before.handled {
		now.looks = 0
	}
	return now
}

// abandonOverdue abandons handlers that have not returned in time after their contexts ended:
// at the task's timeout, or at ended (zero: not yet), when all contexts did.
func (x *executor) abandonOverdue(now, ended time.Time) {
	stuck := map[*lane]*job{}
	x.mu.Lock()
	for l := range x.lanes {
		j := l.job.Load()
		if j == nil {
			continue
		}
		over := time.Unix(0, j.state.deadline.Load())
		if !ended.IsZero() && ended.Before(over) {
			over = ended
		}
		if now.Sub(over) > x.life.HandlerPatience() {
			stuck[l] = j
		}
	}
	x.mu.Unlock()
	for l, j := range stuck {
		x.abandon(l, j, ended)
	}
}

// abandon gives back a lane's task and puts another lane in its place. It does nothing if the task has ended meanwhile:
// the lane may have begun another by now.
func (x *executor) abandon(l *lane, j *job, ended time.Time) {
	if !j.state.take(byWatch) {
		return
	}
	x.remove(l)
	x.ended()
	x.batches.abandoned(j)
	j.state.abandon()
	x.rt.Logger().Error("strunk: a handler did not return after its context had ended; its task is given back and its "+
		"goroutine left behind", "queue", j.queue, "task", j.id, "attempt", j.attempt)
	x.completer.add(x.abandonedOutcome(j, ended))
	if ended.IsZero() {
		x.replace()
	}
	x.wg.Done()
	signal(x.buffer.room)
}

func (x *executor) abandonedOutcome(j *job, ended time.Time) outcome {
	if !ended.IsZero() {
		return givenBack(j)
	}
	if c := j.state.cancelled.Load(); c != nil {
		return outcome{job: j, kind: outcomeCancelled, err: c}
	}
	return x.judge.failed(j, fmt.Errorf("%w, and the handler did not return", ErrTimeout))
}

// execute runs the handler and passes on its outcome, also when the handler ends its goroutine.
func (x *executor) execute(base context.Context, j *job) {
	began := time.Now()
	if x.batches == nil { // a batch counts its tasks when it begins
		x.counted.began(j, began)
	}
	ctx, cancel := x.attempt(base, j)
	err := errors.New("the handler ended its goroutine (runtime.Goexit)")
	defer func() {
		ended := context.Cause(ctx)
		cancel()
		took := j.inBatch.handled(time.Since(began))
		x.latency.ran(took)
		x.counted.ran(j, took)
		x.starter.pass(j) // a task that left its batch before the batch began is not passed yet
		if j.state.take(byHandler) {
			x.completer.add(x.judge.decide(j, err, ended))
		}
	}()
	err = recovered(ctx, j, x.work)
}

// attempt returns the context of one attempt.
func (x *executor) attempt(base context.Context, j *job) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(base, contextKey{}, j)
	if x.batches != nil {
		return x.batches.attempt(ctx, j)
	}
	return context.WithTimeoutCause(ctx, j.timeout, ErrTimeout)
}

// recovered turns a panic of a handler into an error.
func recovered(ctx context.Context, j *job, w work) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		}
	}()
	return w(ctx, j)
}
