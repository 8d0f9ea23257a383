package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlPause pauses queue $1 for the reason $2.
	sqlPause  = `SELECT {schema}.strunk_pause_queue($1::text, $2::text)`
	sqlResume = `SELECT {schema}.strunk_resume_queue($1::text)`
	sqlPaused = `SELECT EXISTS (SELECT 1 FROM {schema}.strunk_queues WHERE queue = $1 AND paused_at IS NOT NULL)
	OR EXISTS (SELECT 1 FROM {schema}.strunk_all_paused)`
	// sqlPauseAll pauses all queues for the reason $1.
	sqlPauseAll  = `SELECT q FROM {schema}.strunk_pause_all($1::text) q`
	sqlResumeAll = `SELECT q FROM {schema}.strunk_resume_all() q`
)

// Pause keeps the queue's tasks from being begun, in all processes, until Resume; running handlers
// go on. Workers hear of it by a notification, or at the next poll where they have none. The reason,
// which may be empty, is shown with who paused it (the role and what its connection calls itself) and since when
// by [Why], package ops and the command strunk. A queue that is paused already stays as it is. SELECT
// strunk_pause_queue('…', 'reason') does the same.
func (q *Queue[T]) Pause(ctx context.Context, box *outbox.Box, reason string) error {
	return q.control(ctx, box, "pause", sqlPause, core.CleanText(reason, core.MaxErrorBytes))
}

// Resume ends a pause of this queue; without one it does nothing. A pause of all queues ([PauseAll]) goes on.
func (q *Queue[T]) Resume(ctx context.Context, box *outbox.Box) error {
	return q.control(ctx, box, "resume", sqlResume)
}

func (q *Queue[T]) control(ctx context.Context, box *outbox.Box, what, sql string, args ...any) error {
	host, err := q.host(box, what)
	if err != nil {
		return err
	}
	for _, name := range q.def.names() {
		err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sql), Args: append([]any{name}, args...)})
		if err != nil {
			return fmt.Errorf("strunk/queue: %s: queue %q: %w", what, name, err)
		}
		host.WakeLocal(core.TopicControl(name))
	}
	return nil
}

// Paused reports whether the queue is paused, by itself or with all queues.
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

// PauseAll pauses all queues of the installation until [ResumeAll], those that appear later too, as
// [Queue.Pause] does one. It is a pause of its own: a queue that is paused by itself stays paused
// after ResumeAll, and Resume of one queue does not begin it while all are paused. SELECT
// strunk_pause_all('reason') does the same. Errors: [ErrInvalid].
func PauseAll(ctx context.Context, box *outbox.Box, reason string) error {
	return controlAll(ctx, box, "pause all", sqlPauseAll, core.CleanText(reason, core.MaxErrorBytes))
}

// ResumeAll ends a pause of all queues; without one it does nothing. Errors: [ErrInvalid].
func ResumeAll(ctx context.Context, box *outbox.Box) error {
	return controlAll(ctx, box, "resume all", sqlResumeAll)
}

func controlAll(ctx context.Context, box *outbox.Box, what, sql string, args ...any) error {
	if box == nil {
		return fmt.Errorf("strunk/queue: %s: the box is nil: %w", what, ErrInvalid)
	}
	host := core.BoxHost(box)
	var told []string
	err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sql), Args: args,
		Scan: func(rows pgx.Rows) (err error) {
			told, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}})
	if err != nil {
		return fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	for _, name := range told {
		host.WakeLocal(core.TopicControl(name))
	}
	return nil
}
