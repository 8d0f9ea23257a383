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

// sqlControl returns the control messages for the workers of queue $1.
const sqlControl = `SELECT paused, task_id, reason FROM {schema}.strunk_control($1::text)`

// controller reads a queue's control messages (whether it is paused, which tasks are to be cancelled, its limits) and
// applies them to the session.
type controller struct {
	rt     core.Runtime
	queue  string
	poll   time.Duration
	limits *limiter
	// onPause is called when a pause begins, onCancel for each cancellation request at each look, with
	// the time at which the look began.
	onPause  func()
	onCancel func(id int64, text string, looked time.Time)

	paused  atomic.Bool
	resumed chan struct{} // signalled when a pause ends
	some    atomic.Bool   // whether requests has any
	mu      sync.Mutex
	// requests are the tasks of the queue that are to be cancelled, with the last errors that they get, as the look
	// that began at looked has found them.
	requests map[int64]string
	looked   time.Time
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
	for {
		timer := time.NewTimer(c.interval())
		select {
		case <-stop:
			timer.Stop()
			return
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
		if err := c.refresh(ctx); err != nil {
			logWarning(c.rt, c.queue, "looking for pauses and cancellations failed; trying again", err)
		}
	}
}

func (c *controller) interval() time.Duration {
	interval := max(controlInterval, c.poll)
	if c.rt.Settings().PollOnly {
		interval = c.poll
	}
	if c.some.Load() {
		interval = min(interval, cancellationInterval)
	}
	return interval
}

// refresh asks the database, on the connection that handlers cannot exhaust, and applies what they say.
func (c *controller) refresh(ctx context.Context) error {
	paused, requests, looked := false, map[int64]string{}, time.Now()
	limits, apply := c.limits.read()
	messages := core.Statement{SQL: c.rt.SQL(sqlControl), Args: []any{c.queue},
		Scan: func(rows pgx.Rows) error { return scanControl(rows, &paused, requests) }}
	err := c.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error { return core.OneMessage(ctx, conn, messages, limits) })
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: reading the control messages of queue %q: %w", c.queue, err)
	}
	apply()
	c.mu.Lock()
	c.requests, c.looked = requests, looked
	c.some.Store(len(requests) > 0)
	c.mu.Unlock()
	for id, text := range requests {
		c.onCancel(id, text, looked)
	}
	c.setPaused(paused)
	return nil
}

func scanControl(rows pgx.Rows, paused *bool, requests map[int64]string) error {
	clear(requests)
	for rows.Next() {
		var p *bool
		var id *int64
		var text *string
		if err := rows.Scan(&p, &id, &text); err != nil {
			return err
		}
		if p != nil {
			*paused = *p
		} else if id != nil && text != nil {
			requests[*id] = *text
		}
	}
	return rows.Err()
}

// cancelRequested reports whether a task is to be cancelled, and the text of its last error if it is. A request that
// was read before the task was claimed may be about an earlier run, after which somebody set the task back to pending:
// then the requests are read again.
func (c *controller) cancelRequested(ctx context.Context, j *job) (text string, ok bool) {
	if !c.some.Load() {
		return "", false
	}
	text, ok, looked := c.request(j.id)
	if !ok || !looked.Before(j.arrived) {
		return text, ok
	}
	if err := c.refresh(ctx); err != nil {
		logWarning(c.rt, c.queue, "looking for a cancellation failed; the last look counts", err)
		return text, true
	}
	text, ok, _ = c.request(j.id)
	return text, ok
}

func (c *controller) request(id int64) (text string, ok bool, looked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok = c.requests[id]
	return text, ok, c.looked
}

func (c *controller) isPaused() bool { return c.paused.Load() }

// awaitResume blocks while the queue is paused. It reports false at the end of ctx.
func (c *controller) awaitResume(ctx context.Context) bool {
	for c.isPaused() {
		select {
		case <-c.resumed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// setPaused begins or ends a pause.
func (c *controller) setPaused(paused bool) {
	if c.paused.Swap(paused) == paused {
		return
	}
	if paused {
		c.rt.Logger().Info("strunk: a queue was paused", "queue", c.queue)
		c.onPause()
		return
	}
	c.rt.Logger().Info("strunk: a queue was resumed", "queue", c.queue)
	signal(c.resumed)
}
