package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/queue"
)

// settleGrace is how long a worker tries to put off or give back tasks after the grace period.
const settleGrace = 10 * time.Second

// session is one Run of a worker: fetch -> ready -> lanes -> settle. Messages that are held are
// extended until they are settled.
type session struct {
	remote    queuelink.Remote
	cfg       Config
	soft      context.Context
	base      context.Context // of handlers: it ends with the grace period
	last      context.Context // of what settles messages
	logger    *slog.Logger
	publisher *publisher
	pull      *puller

	ready chan *held
	freed chan struct{} // signalled when a message is no longer held
	mu    sync.Mutex
	held  map[*held]struct{}
}

// held is a message that this worker has and has not settled.
type held struct {
	msg  jetstream.Msg
	meta *jetstream.MsgMetadata
	e    envelope
	task queuelink.Carried
}

func (s *session) run() {
	base, end := context.WithCancelCause(context.WithoutCancel(s.soft))
	defer end(nil)
	last, giveUp := context.WithCancel(context.WithoutCancel(s.soft))
	defer giveUp()
	s.base, s.last = base, last
	defer context.AfterFunc(s.soft, func() {
		time.AfterFunc(s.cfg.Grace, func() { end(queue.ErrShutdown) })
		time.AfterFunc(s.cfg.Grace+settleGrace, giveUp)
	})()
	s.ready, s.freed, s.held = make(chan *held), make(chan struct{}, 1), map[*held]struct{}{}
	stop := make(chan struct{})
	var lanes, side sync.WaitGroup
	side.Go(func() { s.extend(stop) })
	for range s.remote.Concurrency() {
		lanes.Go(s.work)
	}
	s.fetch()
	lanes.Wait()
	close(stop)
	side.Wait()
	s.remote.Drain(base, last)
}

// fetch takes messages until the soft end, and hands them to the lanes in order.
func (s *session) fetch() {
	defer close(s.ready)
	queued, handing := make(chan *held, 1<<14), make(chan struct{})
	go func() {
		defer close(handing)
		for h := range queued {
			s.ready <- h
		}
	}()
	for {
		n := s.room()
		if n == 0 {
			break
		}
		s.pull.fetch(s.soft, n, func(msg jetstream.Msg) {
			if h := s.take(msg); h != nil {
				queued <- h
			}
		})
	}
	close(queued)
	<-handing
}

// room waits until more messages may be held, and returns how many; 0 at the soft end.
func (s *session) room() int {
	for s.soft.Err() == nil {
		ahead := s.remote.Ahead()
		most := s.remote.Concurrency() + ahead
		s.mu.Lock()
		free := most - len(s.held)
		s.mu.Unlock()
		if free > 0 && 2*free >= min(most, 2*ahead+2) {
			return free
		}
		select {
		case <-s.freed:
		case <-s.soft.Done():
		}
	}
	return 0
}

// take accepts a message. It returns nil for one that needs no handler.
func (s *session) take(msg jetstream.Msg) *held {
	meta, err := msg.Metadata()
	var e envelope
	if err == nil {
		e, err = opened(msg.Headers())
	}
	if err != nil {
		s.logger.Error("strunk: a message is no task and is dropped", "subject", msg.Subject(), "error", err)
		_ = msg.TermWithReason("it is no task")
		return nil
	}
	delivered := int(meta.NumDelivered)
	if e.DelayMS > 0 {
		if delivered == 1 {
			_ = msg.NakWithDelay(time.Duration(e.DelayMS) * time.Millisecond)
			return nil
		}
		delivered--
	}
	h := &held{msg: msg, meta: meta, e: e, task: e.task(msg.Data(), e.Spent+delivered)}
	s.mu.Lock()
	s.held[h] = struct{}{}
	s.mu.Unlock()
	return h
}

// extend keeps messages from being given to others while they wait or their handlers run.
func (s *session) extend(stop <-chan struct{}) {
	ticker := time.NewTicker(s.remote.Lease() / 3)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		for h := range s.held {
			_ = h.msg.InProgress() // the next one follows
		}
		s.mu.Unlock()
	}
}

// work is one lane.
func (s *session) work() {
	for h := range s.ready {
		s.settle(h, s.attempt(h))
		s.mu.Lock()
		delete(s.held, h)
		s.mu.Unlock()
		select {
		case s.freed <- struct{}{}:
		default:
		}
	}
}

func (s *session) attempt(h *held) queuelink.Outcome {
	switch {
	case s.soft.Err() != nil:
		return queuelink.Outcome{Status: string(queue.StatusPending), Unspent: true}
	case h.task.Attempt > max(h.task.MaxAttempts, h.e.Spent+1):
		h.task.Attempt--
		return queuelink.Outcome{Status: string(queue.StatusDead), Err: errWorkerLost}
	}
	return s.remote.Attempt(s.base, h.task)
}

// settle carries an outcome out. Where that fails the message comes again after the ack wait.
func (s *session) settle(h *held, o queuelink.Outcome) {
	var err error
	switch {
	case o.Status == string(queue.StatusDelivered):
		err = h.msg.Ack()
	case o.Status == string(queue.StatusDead), o.Status == string(queue.StatusDiscarded): // as dead letters
		err = s.giveUp(h, o.Err)
	case o.Unspent:
		err = s.putOff(h, o.Delay)
	default:
		s.logger.Warn("strunk: an attempt failed; another one follows", "task", h.task.ID, "attempt", h.task.Attempt,
			"error", o.Err, "delay", o.Delay)
		err = h.msg.NakWithDelay(max(o.Delay, time.Millisecond))
	}
	if err != nil {
		s.logger.Warn("strunk: a task could not be settled; it is handled again", "task", h.task.ID, "error", err)
	}
}

// putOff puts a copy in the place of a message, because a delivery that is no attempt must not count.
func (s *session) putOff(h *held, delay time.Duration) error {
	e := h.e
	e.Spent, e.DelayMS = max(h.task.Attempt-1, 0), delay.Milliseconds()
	return s.replace(h, e, Subject(s.cfg.Prefix, s.remote.Queue()))
}

// giveUp sends a task back to its database, where it is a dead letter.
func (s *session) giveUp(h *held, cause error) error {
	e := h.e
	e.Spent, e.DelayMS, e.Worker = h.task.Attempt, 0, workerName()
	e.Error, e.Stack = reason(cause)
	if err := s.replace(h, e, ReturnSubject(s.cfg.Prefix, e.Database, s.remote.Queue())); err != nil {
		return err
	}
	h.task.Error, h.task.Stack = e.Error, e.Stack
	s.remote.Died(h.task)
	return nil
}

// replace publishes an envelope and acknowledges the message in whose place it is. Its id is that
// of the message's delivery, so that a repeat is dropped.
func (s *session) replace(h *held, e envelope, subject string) error {
	id := fmt.Sprintf("%s/%d/%d", e.messageID(), h.meta.Sequence.Stream, h.meta.NumDelivered)
	msg, err := e.message(subject, id, h.msg.Data())
	if err != nil {
		return err
	}
	ctx, cancel := s.settling()
	defer cancel()
	sent := s.publisher.send(msg)
	sent.again = true // of this delivery nobody else has sent anything
	if err := s.publisher.arrive(ctx, sent); err != nil {
		return err
	}
	return h.msg.Ack()
}

// settling bounds what a stop waits for where the stream does not answer.
func (s *session) settling() (context.Context, context.CancelFunc) {
	if s.soft.Err() != nil {
		return context.WithTimeout(s.last, 2*s.cfg.AckTimeout)
	}
	return context.WithCancel(s.last)
}

func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
