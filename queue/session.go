package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// firstPause is the first wait after an error or an empty look; it doubles up to the poll interval. A worker that just
	// found work polls this briskly for a moment.
	firstPause = 10 * time.Millisecond
	// mostClaimed bounds the tasks of one claim: larger ones hold their locks longer and cost as much a task.
	mostClaimed = 1000
	// mostAhead bounds the tasks that a worker has claimed and not begun.
	mostAhead = 2000
	// aheadTime is how much work a worker claims ahead, by the time its handlers take.
	aheadTime = 20 * time.Millisecond
	// mostUnsettled bounds the tasks that are claimed and not written, or the concurrency where that is higher.
	mostUnsettled = 8000
	// abandonGrace is how long a handler whose context has ended may take to return before its task is given back.
	abandonGrace = 5 * time.Second
	// watchInterval is how often running handlers are looked at.
	watchInterval = 250 * time.Millisecond
)

// session is a worker's life under one lease.
type session struct {
	*worker
	rt    core.Runtime
	life  core.Life
	lease core.Lease
	poll  time.Duration

	base   context.Context // of handlers
	cancel context.CancelCauseFunc

	work work // in its middleware
	// batches are those of a batch worker; nil for others.
	batches *batcher
	orders  orders
	hooks   sync.WaitGroup // Dead hooks that are running
	// undertakers are the middlewares with a Dead hook.
	undertakers []Middleware
	marks       *marks
	ready       chan *job
	room        chan struct{} // signalled when a task ends
	held        claims
	slots       slots
	finisher    *finisher

	unsettled atomic.Int64 // claimed here and not written yet
	waiting   atomic.Int64 // claimed and not begun
	pace      pace

	limits atomic.Pointer[inForce] // see inForce
	share  share
	line   line
	more   bool // the last claim has left something to look at; the feeder's
}

func newSession(w *worker, life core.Life, rt core.Runtime, poll time.Duration) (*session, error) {
	s := &session{worker: w, rt: rt, life: life, poll: poll, marks: newMarks(),
		ready: make(chan *job, mostAhead+mostClaimed), room: make(chan struct{}, 1)}
	s.held.init()
	s.orders.changed = make(chan struct{}, 1)
	s.line.done, s.line.call, s.line.walking = map[string]int64{}, make(chan struct{}, 1), true
	s.work = w.attach(s)
	if err := s.declareLimits(life.Soft); err != nil {
		return nil, err
	}
	if err := s.readOrders(life.Soft); err != nil { // a paused queue must not be begun
		return nil, err
	}
	var err error
	s.lease, err = rt.Lease(life.Soft, core.LeaseSpec{Queue: w.def.name, Duration: w.opts.lease,
		Concurrency: w.opts.concurrency, Claims: s.held.known, Resolved: s.held.resolved})
	if err != nil {
		return nil, err
	}
	s.base, s.cancel = context.WithCancelCause(context.WithoutCancel(life.Hard))
	s.finisher = newFinisher(s)
	return s, nil
}

// run returns when the lease was lost or the soft end was reached, and everything has been settled.
func (s *session) run() {
	defer s.cancel(context.Canceled)
	defer s.batches.start()()
	stopWatch := make(chan struct{})
	var side sync.WaitGroup
	side.Go(s.finisher.run)
	side.Go(func() { s.watch(stopWatch) })
	side.Go(func() { s.obey(stopWatch) })
	s.slots.start(s)

	s.feed() // until the soft end or the lease is lost
	side.Go(func() { s.drainShare(stopWatch) })
	close(s.ready)
	for j := range s.ready {
		s.giveBack(j)
	}
	s.slots.wait()
	close(stopWatch)
	s.finisher.close()
	side.Wait()
	s.leaveLines()
	s.awaitHooks()
	s.release()
}

// awaitHooks waits for Dead hooks, which are the user's code: at the end of the grace period, and when the lease is lost, no longer
// than for a handler.
func (s *session) awaitHooks() {
	done := make(chan struct{})
	go func() {
		s.hooks.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-s.life.Hard.Done():
	case <-s.lease.Lost():
	}
	timer := time.NewTimer(abandonGrace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.rt.Logger().Error("strunk: a Dead hook did not return; its goroutine is left behind", "queue", s.def.name)
	}
}

// release waits no longer than a heartbeat may: the rescue does what is left.
func (s *session) release() {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.lease)
	defer cancel()
	if err := s.lease.Release(ctx); err != nil {
		s.logError("a worker could not release its lease, it runs out by itself", err)
	}
}

// giveBack returns a task that no handler has begun; its attempt is not spent.
func (s *session) giveBack(j *job) {
	s.waiting.Add(-1)
	s.finisher.add(outcome{job: j, kind: outcomeRetry, refund: true})
}

// lost reports whether the lease has gone.
func (s *session) lost() bool {
	select {
	case <-s.lease.Lost():
		return true
	default:
		return false
	}
}

// watch ends the contexts of handlers when the lease is lost or the grace period is over, and lets go of handlers that do
// not return.
func (s *session) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	lost, hard := s.lease.Lost(), s.life.Hard.Done()
	var ended time.Time
	for {
		select {
		case <-stop:
			return
		case <-lost:
			s.cancel(ErrLeaseLost)
			lost, ended = nil, time.Now()
		case <-hard:
			s.cancel(ErrShutdown)
			hard, ended = nil, time.Now()
		case now := <-ticker.C:
			s.slots.abandonOverdue(now, ended)
		}
	}
}

// claims are the claim numbers whose tasks are not all settled, and those whose answer was lost.
type claims struct {
	mu   sync.Mutex
	last int64
	open map[int64]int      // tasks left of each claim; 0 while it is under way
	gone map[int64]struct{} // the answer was lost
}

func (c *claims) init() {
	c.open, c.gone = map[int64]int{}, map[int64]struct{}{}
}

// next draws a claim number, known from now on, before it is sent.
func (c *claims) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.open[c.last] = 0
	return c.last
}

// answered says how many tasks a claim brought.
func (c *claims) answered(number int64, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		delete(c.open, number)
		return
	}
	c.open[number] = n
}

func (c *claims) lost(number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, number)
	c.gone[number] = struct{}{}
}

// uncertain reports whether a claim may have taken tasks that are not known.
func (c *claims) uncertain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.gone) > 0
}

func (c *claims) settled(number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[number]--; c.open[number] <= 0 {
		delete(c.open, number)
	}
}

// known implements core.LeaseSpec.Claims.
func (c *claims) known() (low int64, known []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	low, known = c.last, make([]int64, 0, len(c.open))
	for number := range c.open {
		low = min(low, number-1)
		known = append(known, number)
	}
	for number := range c.gone {
		low = min(low, number-1)
	}
	return low, known
}

// resolved implements core.LeaseSpec.Resolved.
func (c *claims) resolved(voided int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for number := range c.gone {
		if number <= voided {
			delete(c.gone, number)
		}
	}
}
