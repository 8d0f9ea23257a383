package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	sqlPause  = `SELECT {schema}.strunk_pause_queue($1::text)`
	sqlResume = `SELECT {schema}.strunk_resume_queue($1::text)`
	sqlPaused = `SELECT EXISTS (SELECT 1 FROM {schema}.strunk_queues WHERE queue = $1 AND paused_at IS NOT NULL)`
	// sqlCancel cancels task $1 for reason $2.
	sqlCancel = `SELECT {schema}.strunk_cancel($1::bigint, $2::text)`
	// sqlControl tells a worker of queue $1 what it must know besides its tasks.
	sqlControl = `SELECT paused, task_id, reason FROM {schema}.strunk_control($1::text)`

	// controlInterval is how often a worker looks for pauses and cancellations that no notification announced; with
	// PollOnly it looks at every poll.
	controlInterval = 5 * time.Second
	// wishInterval is that of a worker which knows of a cancellation: it forgets it soon after the task has ended.
	wishInterval = 500 * time.Millisecond
)

// CancelState says what Cancel has found and done.
type CancelState string

// What Cancel returns.
const (
	// CancelDone says that the task was waiting and is a dead letter now.
	CancelDone CancelState = "cancelled"
	// CancelRequested says that the task is running: its handler's context ends, with the cause ErrCancelled, as soon as its
	// worker has heard.
	CancelRequested CancelState = "cancelling"
	// CancelTooLate says that the task was delivered or dead already.
	CancelTooLate CancelState = "ended"
)

// Cancel cancels a task of this queue from any process. A waiting one becomes a dead letter at once. The context of a running
// one ends: if its handler returns an error the task becomes a dead letter, if it returns nil all the same the task is
// done. A task that was given back meanwhile does not begin again. The dead letter's error is "cancelled", with the reason
// after a colon. Errors: [ErrNotFound].
func (q *Queue[T]) Cancel(ctx context.Context, box *outbox.Box, id int64, reason string) (CancelState, error) {
	def := q.definition()
	rec, err := get[T](ctx, box, def, id, "cancel")
	if err != nil {
		return "", err
	}
	host := box.Host(seal)
	var state *string
	err = core.RetryConflicts(ctx, func() error {
		return host.Pool().QueryRow(ctx, host.SQL(sqlCancel), id, core.CleanText(reason, core.MostErrorBytes)).Scan(&state)
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("strunk/queue: cancel: queue %q, task %d: %w", def.name, id, err)
	case state == nil:
		return "", fmt.Errorf("strunk/queue: cancel: queue %q, task %d: %w", def.name, id, ErrNotFound)
	}
	host.WakeLocal(core.TopicControl(rec.Queue), core.TopicResult(rec.Queue))
	switch s := CancelState(*state); s {
	case CancelDone, CancelRequested:
		return s, nil
	}
	return CancelTooLate, nil
}

// Pause keeps the queue's tasks from being begun, in all processes, until Resume; running handlers go on. Workers hear of it by a
// notification, or at the next poll where they have none. SELECT strunk_pause_queue('…') does the same.
func (q *Queue[T]) Pause(ctx context.Context, box *outbox.Box) error {
	return q.control(ctx, box, "pause", sqlPause)
}

// Resume ends a pause; without one it does nothing.
func (q *Queue[T]) Resume(ctx context.Context, box *outbox.Box) error {
	return q.control(ctx, box, "resume", sqlResume)
}

func (q *Queue[T]) control(ctx context.Context, box *outbox.Box, what, sql string) error {
	host, err := q.host(box, what)
	if err != nil {
		return err
	}
	for _, name := range q.def.names() {
		if _, err := host.Pool().Exec(ctx, host.SQL(sql), name); err != nil {
			return fmt.Errorf("strunk/queue: %s: queue %q: %w", what, name, err)
		}
		host.WakeLocal(core.TopicControl(name))
	}
	return nil
}

// Paused reports whether the queue is paused.
func (q *Queue[T]) Paused(ctx context.Context, box *outbox.Box) (paused bool, err error) {
	host, err := q.host(box, "paused")
	if err != nil {
		return false, err
	}
	if err := host.Pool().QueryRow(ctx, host.SQL(sqlPaused), q.Name()).Scan(&paused); err != nil {
		return false, fmt.Errorf("strunk/queue: paused: queue %q: %w", q.Name(), err)
	}
	return paused, nil
}

// host checks what every call outside a transaction needs.
func (q *Queue[T]) host(box *outbox.Box, what string) (core.Host, error) {
	def := q.definition()
	if def.err != nil {
		return nil, def.err
	}
	if box == nil {
		return nil, fmt.Errorf("strunk/queue: %s: the box is nil: %w", what, ErrInvalid)
	}
	return box.Host(seal), nil
}

// orders are what a session has been told from outside.
type orders struct {
	paused  atomic.Bool
	changed chan struct{} // signalled when a pause ends
	some    atomic.Bool   // whether doomed has any
	mu      sync.Mutex
	doomed  map[int64]string // tasks of the queue that are to be cancelled, with the text of their dead letter
}

// doom returns the text for a task that is to be cancelled.
func (o *orders) doom(j *job) (string, bool) {
	if !o.some.Load() {
		return "", false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	text, ok := o.doomed[j.id]
	return text, ok
}

// awaitResume blocks while the queue is paused; false at the end of ctx.
func (s *session) awaitResume(ctx context.Context) bool {
	for s.orders.paused.Load() {
		select {
		case <-s.orders.changed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// obey looks for orders at every announcement and at intervals, until stop is closed.
func (s *session) obey(stop <-chan struct{}) {
	woken, end := s.rt.Subscribe(core.TopicControl(s.def.name))
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
		timer := time.NewTimer(s.controlInterval())
		select {
		case <-stop:
			timer.Stop()
			return
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
		if err := s.readOrders(ctx); err != nil {
			s.logError("looking for pauses and cancellations failed", err)
		}
	}
}

func (s *session) controlInterval() time.Duration {
	interval := max(controlInterval, s.poll)
	if s.rt.Settings().PollOnly {
		interval = s.poll
	}
	if s.orders.some.Load() {
		interval = min(interval, wishInterval)
	}
	return interval
}

// readOrders asks the database, on the connection that handlers cannot exhaust.
func (s *session) readOrders(ctx context.Context) error {
	paused, doomed, limits := false, map[int64]string{}, &inForce{}
	err := s.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn, core.Statement{SQL: s.rt.SQL(sqlControl), Args: []any{s.def.name},
				Scan: func(rows pgx.Rows) error { return scanOrders(rows, &paused, doomed) }},
				core.Statement{SQL: s.rt.SQL(sqlLimits), Args: []any{s.def.name},
					Scan: func(rows pgx.Rows) error { return scanLimits(rows, limits) }})
		})
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: reading the orders of queue %q: %w", s.def.name, err)
	}
	s.limits.Store(limits)
	s.orders.mu.Lock()
	s.orders.doomed = doomed
	s.orders.some.Store(len(doomed) > 0)
	s.orders.mu.Unlock()
	for id, text := range doomed {
		s.slots.doom(id, text)
	}
	s.setPaused(paused)
	return nil
}

func scanOrders(rows pgx.Rows, paused *bool, doomed map[int64]string) error {
	clear(doomed)
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
			doomed[*id] = *text
		}
	}
	return rows.Err()
}

// setPaused begins or ends a pause. What has been claimed ahead is given back: the pause may be long.
func (s *session) setPaused(paused bool) {
	if s.orders.paused.Swap(paused) == paused {
		return
	}
	if !paused {
		s.rt.Logger().Info("strunk: a queue was resumed", "queue", s.def.name)
		signal(s.orders.changed)
		return
	}
	s.rt.Logger().Info("strunk: a queue was paused", "queue", s.def.name)
	s.giveBackReady()
}

// giveBackReady gives back what has been claimed and not begun.
func (s *session) giveBackReady() {
	for {
		select {
		case j, ok := <-s.ready:
			if !ok {
				return
			}
			s.giveBack(j)
		default:
			return
		}
	}
}

// bury ends a task that was cancelled before a handler had begun it.
func (s *session) bury(j *job, text string) {
	s.waiting.Add(-1)
	s.finisher.add(outcome{job: j, kind: outcomeBury, err: &cancelled{text}})
}
