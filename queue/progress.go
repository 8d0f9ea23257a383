package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Progress is how far a running task says that it has come.
type Progress struct {
	// Percent is 0 to 100; 100 once the task has stored a result.
	Percent int
	// Message is the handler's.
	Message string
	// UpdatedAt is when it was reported, by the database's clock.
	UpdatedAt time.Time
}

// Report records, from within a handler, how far its task has come: percent is 0 to 100. It is
// written at once, outside the transaction of a handler in a transaction. A [BatchHandler] says by
// [TaskContext] which task is meant; its own context is of none. Errors: [ErrNotInHandler],
// [ErrLeaseLost], [ErrNoDatabase], [ErrInvalid].
func Report(ctx context.Context, percent int, message string) error {
	if bt, ok := ctx.Value(contextKey{}).(*batch); ok {
		return fmt.Errorf("strunk/queue: report: the context is that of %d tasks, report with TaskContext(ctx, "+
			"task.ID): %w", len(bt.members), ErrNotInHandler)
	}
	j, ok := ctx.Value(contextKey{}).(*job)
	if !ok {
		return fmt.Errorf("strunk/queue: report: %w", ErrNotInHandler)
	}
	err := checkRange("percent", percent, 0, 100)
	if err == nil {
		err = core.CheckText(message)
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: report: %w: %w", err, ErrInvalid)
	}
	if j.remote {
		return fmt.Errorf("strunk/queue: report: the worker is at a broker and has no database: %w", ErrNoDatabase)
	}
	if j.fence == nil { // in a test
		return nil
	}
	return j.fence.report(ctx, j, percent, message)
}

// sqlReport records the progress of task $3 of queue $1, claimed by worker $2 under $4: $5 percent, message $6.
const sqlReport = `SELECT {schema}.strunk_progress($1::text, $2::bigint, $3::bigint, $4::bigint, $5::integer, $6::text)`

func (f *fence) report(ctx context.Context, j *job, percent int, message string) error {
	held, err := core.WriteValue[bool](ctx, f.host.Pool(), f.host.SQL(sqlReport), j.queue, f.worker, j.id, j.claim,
		percent, message)
	if err == nil && !held {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: report: queue %q, task %d: %w", j.queue, j.id, err)
	}
	f.host.WakeLocal(core.TopicResult(j.queue))
	return nil
}

// sqlProgress reads the progress of task $1 of a queue, under whichever of its names ($2).
const sqlProgress = `SELECT percent, message, updated_at FROM {schema}.strunk_results WHERE task_id = $1
	AND queue = ANY ($2::text[])`

// Progress returns what a task's handler has reported last: the zero Progress where it has reported nothing.
func (q *Queue[T]) Progress(ctx context.Context, box *outbox.Box, id int64) (p Progress, err error) {
	host, err := q.host(box, "progress")
	if err != nil {
		return p, err
	}
	err = host.Pool().QueryRow(ctx, host.SQL(sqlProgress), id, q.def.names()).Scan(&p.Percent, &p.Message, &p.UpdatedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return p, fmt.Errorf("strunk/queue: progress: queue %q, task %d: %w", q.Name(), id, err)
	}
	return p, nil
}
