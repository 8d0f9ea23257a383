package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// session is a worker's life under one lease. It wires up the parts and has them start and end in order.
//
//	claimer -> starter -> prefetch -> executor -> completer
//
// The controller and the limiter tell them what they must not do.
type session struct {
	rt       core.Runtime
	life     core.Life
	queue    string
	duration time.Duration // of the lease
	lease    core.Lease

	base   context.Context // of handlers
	cancel context.CancelCauseFunc
	ended  atomic.Pointer[time.Time] // when base was cancelled

	buffer    *prefetch
	limits    *limiter
	control   *controller
	claimer   *claimer
	starter   *starter
	executor  *executor
	batches   *batcher // of a batch worker; nil for others
	completer *completer
	hooks     *deadHooks
	passage   *passage
	counted   *counted
}

// newSession declares what the program says of the queue, reads the control messages, because a paused
// queue must not be begun, takes a lease, and looks whether there is work: all of it in one message.
func newSession(w *worker, life core.Life, rt core.Runtime, poll time.Duration, size claimSize) (*session, error) {
	s := &session{rt: rt, life: life, queue: w.def.name, duration: w.opts.lease, buffer: newPrefetch()}
	numbers := newClaimNumbers()
	s.buffer.slots.shareSlots(w.share, func() { s.starter.slotDealt() })
	s.passage = newPassage(s.duration, s.buffer)
	s.counted = newCounted(rt, s.queue)
	s.limits = newLimiter(life.End, rt, w, poll, numbers, s.buffer)
	s.control = newController(rt, s.queue, poll, s.limits)
	s.control.questions = questionsOf(rt)
	var dedup string
	var work []bool
	control, obey := s.control.read()
	look := lookForWork(rt, []workQuestion{{queue: s.queue, low: make([]int64, levels)}}, &work)
	lease, err := rt.Lease(life.Soft, core.LeaseSpec{Queue: s.queue, Duration: s.duration,
		Concurrency: w.opts.concurrency, Claims: numbers.known, Stuck: s.passage.stuck,
		Resolved: numbers.resolved, WritesStarts: true},
		slices.Concat([]core.Statement{s.limits.declaration(), outcomesDeclaration(rt, w.def),
			dedupDeclaration(rt, w.def, &dedup)}, control, []core.Statement{look})...)
	if err != nil {
		return nil, err
	}
	warnOfDedup(rt, w.def, dedup)
	s.lease, s.limits.lease = lease, lease
	s.base, s.cancel = context.WithCancelCause(context.WithoutCancel(life.Hard))
	obey()
	s.wire(w, numbers, poll, size)
	s.claimer.firstLook(work[0], time.Now())
	return s, nil
}

// wire makes the parts that need the lease.
func (s *session) wire(w *worker, numbers *claimNumbers, poll time.Duration, size claimSize) {
	latency, judge := newLatency(), newJudge(w.def, w.opts, w.inTx != nil, s.rt.Logger())
	writer := newOutcomeWriter(s.life.End, s.rt, w.def, s.lease.ID())
	chain := middlewares(s.rt, w.def.cfg.Middleware, w.opts.middleware)
	s.hooks = newDeadHooks(s.base, s.rt.Logger(), chain, writer.process)
	if w.carries { // the chain is around the handlers, and those are elsewhere
		chain = nil
	}
	s.completer = newCompleter(s.rt, w.def, writer, s.hooks, s.giveUp)
	s.completer.counted = s.counted
	s.completer.written = func(batch []outcome) {
		for _, o := range batch {
			numbers.settled(o.job.claim)
			s.limits.ended(o.job)
		}
		s.buffer.settled(batch)
		s.counted.settledInTx(batch)
		s.starter.nudge()
	}
	s.limits.passage, s.completer.passage = s.passage, s.passage
	s.starter = newStarter(s.life.End, s.rt, w, s.lease.ID(), latency, s.buffer)
	s.starter.passage = s.passage
	s.starter.giveBack = func(j *job) { s.completer.add(givenBack(j)) }
	if w.batch != nil {
		s.batches = newBatcher(w.batch, s.base, s.starter, w.opts.concurrency)
		s.batches.started = s.counted.beginning(s.starter.pass)
		s.starter.heldUp = s.batches.closeAll
	}
	s.executor = &executor{rt: s.rt, concurrency: w.opts.concurrency, life: s.life, base: s.base,
		buffer: s.buffer, starter: s.starter, latency: latency, control: s.control, judge: judge,
		completer: s.completer, batches: s.batches, permits: w.permits, onDemand: w.share != nil, counted: s.counted,
		work: w.handler(s.rt, s.batches, writer, chain)}
	s.claimer = &claimer{rt: s.rt, queue: s.queue, concurrency: w.opts.concurrency, timeout: w.opts.timeout, poll: poll,
		carries: w.carries, life: s.life, lease: s.lease, numbers: numbers, latency: latency, control: s.control,
		limits: s.limits, claimSlots: claimSlots{share: w.share},
		patience: w.opts.claimTimeout, size: size, buffer: s.buffer, starter: s.starter,
		fence: newFence(s.rt, s.lease.ID(), w.opts.lease), steps: w.def.cfg.Steps,
		holder: &holder{host: s.rt, names: w.allNames(), control: s.control},
		marks:  newWatermarks(), below: newBelowLook(),
		breaks: s.rt.Breaks(), questions: s.control.questions, fullPolls: s.rt.FullPolls(),
		passage:       s.passage,
		giveBackReady: s.executor.giveBackReady}
	s.control.onPause, s.control.onCancel = s.executor.giveBackReady, s.executor.cancel
}

// run returns when the lease was lost or the soft end was reached, and everything has been settled. It stops its parts
// in the order in which tasks go through them, so that none is handed a task after it has ended: the claimer, the
// starter (which gives back what may not start), the executor, the completer (which writes the last outcomes), and last
// what releases quotas and the lease.
func (s *session) run() {
	defer s.cancel(context.Canceled)
	defer s.batches.start(s.life.Soft)()
	stop := make(chan struct{})
	var side sync.WaitGroup
	side.Go(s.completer.run)
	starting := make(chan struct{})
	go func() { defer close(starting); s.starter.run() }()
	side.Go(func() { s.watch(stop) })
	side.Go(func() { s.executor.watch(stop, s.endedAt) })
	side.Go(func() { s.control.run(stop) })
	s.executor.start()

	s.claimer.run(s.life.Soft) // until the soft end or the loss of the lease
	side.Go(func() { s.limits.drain(stop) })
	s.starter.close()
	<-starting
	s.executor.giveBackReady()
	s.executor.wait()
	close(stop)
	s.completer.close()
	side.Wait()
	s.limits.leave()
	s.hooks.await(s.life, s.lease.Lost())
	s.release()
}

// release waits no longer than a heartbeat may: the rescue does what is left.
func (s *session) release() {
	ctx, cancel := context.WithTimeout(s.life.End, s.duration)
	defer cancel()
	if err := s.lease.Release(ctx); err != nil {
		logWarning(s.rt, s.queue, "a worker could not release its lease, it runs out by itself", err)
	}
}

// giveUp reports whether outcomes that cannot be written are left to the rescue: the lease is lost,
// or the process ought to have ended by now.
func (s *session) giveUp() bool { return isClosed(s.lease.Lost()) || s.life.Hard.Err() != nil }

// watch ends the contexts of handlers when the lease is lost or the grace period is over.
func (s *session) watch(stop <-chan struct{}) {
	cause := ErrShutdown
	select {
	case <-stop:
		return
	case <-s.lease.Lost():
		cause = ErrLeaseLost
	case <-s.life.Hard.Done():
	}
	now := time.Now()
	s.cancel(cause)
	s.ended.Store(&now)
}

// endedAt is when the contexts of all handlers ended; zero for not yet.
func (s *session) endedAt() time.Time { return orElse(s.ended.Load(), time.Time{}) }

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// logWarning logs an error that does not end a worker; one of a context that was cancelled is none.
func logWarning(host core.Host, queue, what string, err error) {
	if !errors.Is(err, context.Canceled) {
		host.Logger().Warn("strunk: "+what, "queue", queue, "error", err)
	}
}
