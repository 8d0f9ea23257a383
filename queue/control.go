package queue

import (
	"context"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// sqlCancel cancels task $1 for reason $2.
const sqlCancel = `SELECT {schema}.strunk_cancel($1::bigint, $2::text)`

// CancelState says what Cancel has found and done.
type CancelState string

// What Cancel returns.
const (
	// CancelDone says that the task was waiting and is cancelled now.
	CancelDone CancelState = "cancelled"
	// CancelRequested says that the task is running: its handler's context ends, with the cause
	// ErrCancelled, as soon as its worker has heard.
	CancelRequested CancelState = "cancelling"
	// CancelTooLate says that the task had ended already.
	CancelTooLate CancelState = "ended"
)

// Cancel cancels a task of this queue from any process. A waiting one is cancelled at once. The
// context of a running one ends: if its handler returns an error the task is cancelled, if it
// returns nil all the same the task is done. A task that was given back meanwhile does not begin
// again. Its last error is "cancelled", with the reason after a colon. A cancelled task
// ([StatusCancelled]) is no dead letter, is kept as long as a delivered one, and can be retried.
// Errors: [ErrNotFound].
func (q *Queue[T]) Cancel(ctx context.Context, box *outbox.Box, id int64, reason string) (CancelState, error) {
	def := q.definition()
	rec, err := get[T](ctx, box, def, id, "cancel")
	if err != nil {
		return "", err
	}
	host := core.BoxHost(box)
	state, err := core.WriteValue[*string](ctx, host.Pool(), host.SQL(sqlCancel), id,
		core.CleanText(reason, core.MaxErrorBytes))
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

// host checks what every call outside a transaction needs.
func (q *Queue[T]) host(box *outbox.Box, what string) (core.Host, error) {
	def := q.definition()
	if def.err != nil {
		return nil, def.err
	}
	if box == nil {
		return nil, fmt.Errorf("strunk/queue: %s: the box is nil: %w", what, ErrInvalid)
	}
	return core.BoxHost(box), nil
}
