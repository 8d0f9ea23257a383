package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// controlInterval is how often a worker looks for control messages that no notification announced. With PollOnly it
	// looks at every poll.
	controlInterval = 5 * time.Second
	// cancellationInterval replaces it while a cancellation request is known: it is forgotten soon
	// after its task has ended.
	cancellationInterval = 500 * time.Millisecond
)

// controller reads a queue's control messages (whether it is paused or on hold, which keys of it are, which tasks are
// to be cancelled, its limits) and applies them to the session.
type controller struct {
	rt        core.Runtime
	queue     string
	poll      time.Duration
	limits    *limiter
	questions *questions
	// onPause is called when a pause begins, onCancel for each cancellation request at each look, with
	// the time at which the look began.
	onPause  func()
	onCancel func(id int64, text string, looked time.Time)

	paused  atomic.Bool
	resumed chan struct{} // signalled when a pause ends
	some    atomic.Bool   // whether there are cancellation requests
	held    atomic.Bool   // whether keys are on hold
	mu      sync.Mutex
	last    controlMessages
}

func newController(rt core.Runtime, queue string, poll time.Duration, limits *limiter) *controller {
	return &controller{rt: rt, queue: queue, poll: poll, limits: limits, resumed: make(chan struct{}, 1),
		onPause: func() {}, onCancel: func(int64, string, time.Time) {}}
}

// run looks for control messages at every announcement and at intervals, until stop is closed.
func (c *controller) run(stop <-chan struct{}) {
	woken, end := c.rt.Subscribe(core.TopicControl(c.queue))
	defer end()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	polls := c.rt.FullPolls()
	for {
		announced := false
		timer := time.NewTimer(c.pause())
		select {
		case <-stop:
			timer.Stop()
			return
		case <-woken:
			now := c.rt.FullPolls()
			polls, announced = now, now == polls // after a full poll it is no sign of messages
		case <-timer.C:
		}
		timer.Stop()
		if err := c.look(ctx, woken, announced); err != nil {
			logWarning(c.rt, c.queue, "looking for pauses and cancellations failed; trying again", err)
		}
	}
}

// look reads the control messages where they were announced, where there were some at the last look, and where there
// are some now, or other limits. The last is asked together with the other queues of the process, and an announcement
// does not wait for the answer.
func (c *controller) look(ctx context.Context, woken <-chan struct{}, announced bool) error {
	if announced || !c.messages().none() {
		return c.refresh(ctx)
	}
	question := controlQuestion{queue: c.queue, limits: c.limits.inForce().version}
	with, place := c.questions.control.put(c.limits.end, askForControl(c.rt), question)
	select {
	case <-with.done:
		if some, err := with.at(place); err != nil || !some {
			return err
		}
	case <-woken:
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.refresh(ctx)
}

// pause is how long it is to the next look. Those of all quiet queues of the process come at the same moments.
func (c *controller) pause() time.Duration {
	interval := c.interval()
	if c.messages().none() {
		return c.rt.Rhythm().Next(time.Now(), interval)
	}
	return interval
}

func (c *controller) interval() time.Duration {
	interval := max(controlInterval, c.poll)
	if c.rt.Settings().PollOnly {
		interval = c.poll
	}
	if c.some.Load() {
		interval = min(interval, cancellationInterval)
	}
	if left := time.Until(c.messages().holdEnds); left > 0 {
		interval = min(interval, left)
	}
	return interval
}

// messages are what the last look has found. Nobody changes them.
func (c *controller) messages() controlMessages {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// refresh asks the database, on the connection that handlers cannot exhaust, and applies what they say.
func (c *controller) refresh(ctx context.Context) error {
	statements, obey := c.read()
	err := c.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error { return core.OneMessage(ctx, conn, statements...) })
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: reading the control messages of queue %q: %w", c.queue, err)
	}
	obey()
	return nil
}

// read returns the statements that read the control messages and the limits in force, and what applies them.
func (c *controller) read() (statements []core.Statement, obey func()) {
	found := &controlMessages{looked: time.Now()}
	limits, obeyLimits := c.limits.read()
	messages := core.Statement{SQL: c.rt.SQL(sqlControl), Args: []any{c.queue}, Scan: found.scan}
	return []core.Statement{messages, limits}, func() {
		obeyLimits()
		c.obey(*found)
	}
}

func (c *controller) obey(found controlMessages) {
	c.mu.Lock()
	c.last = found
	c.some.Store(len(found.requests) > 0)
	c.held.Store(len(found.keyHolds) > 0)
	c.mu.Unlock()
	for id, text := range found.requests {
		c.onCancel(id, text, found.looked)
	}
	c.setPaused(found.paused, !found.holdEnds.IsZero())
}

// cancelRequested reports whether a task is to be cancelled, and the text of its last error if it is. A request that
// was read before the task was claimed may be about an earlier run, after which somebody set the task back to pending:
// then the requests are read again.
func (c *controller) cancelRequested(ctx context.Context, j *job) (text string, ok bool) {
	if !c.some.Load() {
		return "", false
	}
	return lookedUp(ctx, c, j, func(m controlMessages) (string, bool) {
		text, ok := m.requests[j.id]
		return text, ok
	})
}

// keyHeld reports whether the customer key of a task is on hold. A hold that was read before the task was claimed is
// looked for once more: it may have been lifted, and the task admitted since.
func (c *controller) keyHeld(ctx context.Context, j *job) bool {
	if j.key == "" || !c.held.Load() {
		return false
	}
	_, held := lookedUp(ctx, c, j, func(m controlMessages) (time.Time, bool) {
		ends, held := m.keyHolds[j.key]
		return ends, held && time.Now().Before(ends)
	})
	return held
}

// lookedUp finds something about a task in the last messages, and once more in new ones where the last look began
// before the task was claimed.
func lookedUp[V any](ctx context.Context, c *controller, j *job, find func(controlMessages) (V, bool)) (V, bool) {
	last := c.messages()
	v, ok := find(last)
	if !ok || !last.looked.Before(j.arrived) {
		return v, ok
	}
	if err := c.refresh(ctx); err != nil {
		logWarning(c.rt, c.queue, "looking for control messages failed; the last look counts", err)
		return v, true
	}
	return find(c.messages())
}

func (c *controller) isPaused() bool { return c.paused.Load() }

// awaitResume calls rest and blocks while the queue is paused. It reports false at the end of ctx.
func (c *controller) awaitResume(ctx context.Context, rest func()) bool {
	for c.isPaused() {
		rest()
		select {
		case <-c.resumed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// setPaused begins or ends a pause; held says that it is a hold.
func (c *controller) setPaused(paused, held bool) {
	if c.paused.Swap(paused) == paused {
		return
	}
	switch {
	case held:
		c.rt.Logger().Info("strunk: a queue was put on hold", "queue", c.queue)
	case paused:
		c.rt.Logger().Info("strunk: a queue was paused", "queue", c.queue)
	default:
		c.rt.Logger().Info("strunk: a queue was resumed", "queue", c.queue)
		signal(c.resumed)
		c.limits.nudge()
		return
	}
	c.onPause()
}
