package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ResultQueue is a queue whose handlers return a result of type R, which the enqueuer can wait for. Make it with
// DefineWithResult.
type ResultQueue[T, R any] struct {
	*Queue[T]
}

// DefineWithResult declares a queue as Define does. Results are kept for [outbox.DefaultTaskRetention] after the task is done.
func DefineWithResult[T, R any](name string, cfg Config) *ResultQueue[T, R] {
	q := Define[T](name, cfg)
	q.def.results = true
	return &ResultQueue[T, R]{q}
}

// Worker makes a consumer whose handler returns a result, which is stored in the statement that completes the task.
func (q *ResultQueue[T, R]) Worker(handler func(ctx context.Context, task Task[T]) (R, error), opts ...WorkerOption) *Worker[T] {
	if handler == nil {
		return q.Queue.Worker(nil, opts...)
	}
	w := newWorker(q.definition(), func(ctx context.Context, j *job) error {
		task, err := taskOf[T](j)
		if err != nil {
			return err
		}
		result, err := handler(ctx, task)
		if err != nil {
			return err
		}
		return j.setResult(result)
	}, opts)
	return &Worker[T]{w: w}
}

// WorkerInTx is Queue.WorkerInTx for a handler that returns a result.
func (q *ResultQueue[T, R]) WorkerInTx(handler func(ctx context.Context, tx *outbox.OwnedTx, task Task[T]) (R, error), opts ...WorkerOption) *Worker[T] {
	if handler == nil {
		return q.Queue.WorkerInTx(nil, opts...)
	}
	w := newWorkerInTx(q.definition(), func(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
		task, err := taskOf[T](j)
		if err != nil {
			return err
		}
		result, err := handler(ctx, tx, task)
		if err != nil {
			return err
		}
		return j.setResult(result)
	}, opts)
	return &Worker[T]{w: w}
}

func (j *job) setResult(v any) error {
	doc, err := json.Marshal(v)
	if err == nil {
		err = core.CheckJSON(doc, DefaultMaxPayload)
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: queue %q, task %d: the result cannot be stored: %w", j.queue, j.id, err)
	}
	s := string(doc)
	j.result = &s
	return nil
}

const (
	// sqlCompleteResults completes claimed tasks of queue $1 with their results ($5).
	sqlCompleteResults = `SELECT * FROM {schema}.strunk_complete_results($1::text, $2::bigint, $3::bigint[], $4::bigint[], $5::text[], $6::boolean)`
	// sqlStoreResults stores the results ($3) of tasks ($2) of queue $1 in the caller's transaction.
	sqlStoreResults = `SELECT {schema}.strunk_store_results($1::text, $2::bigint[], $3::text[])`
	// sqlResult reads what is known of task $1 of a queue, under whichever of its names ($2). It locks nothing.
	sqlResult = `SELECT r.result, o.status, coalesce(o.last_error, '')
FROM (VALUES ($1::bigint)) AS p(id)
LEFT JOIN {schema}.strunk_results r ON r.task_id = p.id AND r.queue = ANY ($2::text[])
LEFT JOIN {schema}.strunk_outbox o ON o.id = p.id AND o.kind = 'task' AND o.key = ANY ($2::text[])`
	// sqlReport records the progress of task $3 of queue $1, claimed by worker $2 under $4: $5 percent, message $6.
	sqlReport = `SELECT {schema}.strunk_progress($1::text, $2::bigint, $3::bigint, $4::bigint, $5::integer, $6::text)`
	// sqlProgress reads the progress of task $1 of a queue, under whichever of its names ($2).
	sqlProgress = `SELECT percent, message, updated_at FROM {schema}.strunk_results WHERE task_id = $1 AND queue = ANY ($2::text[])`
)

func (f *finisher) completeResults(part []outcome, ids, claims []int64) (string, []any) {
	results := make([]*string, len(part))
	for i, o := range part {
		results[i] = o.job.result
	}
	return f.s.rt.SQL(sqlCompleteResults), []any{f.s.def.name, f.s.lease.ID(), ids, claims, results, !f.s.def.cfg.DiscardDelivered}
}

// storeInTx stores the result within the handler's transaction.
func (s *session) storeInTx(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
	if j.result == nil {
		return nil
	}
	t := tx.Core(seal)
	t.Wake(core.TopicResult(s.def.name))
	return t.Query(ctx, s.rt.SQL(sqlStoreResults), []any{s.def.name, []int64{j.id}, []string{*j.result}}, func(rows core.Rows) error {
		for rows.Next() {
		}
		return rows.Err()
	})
}

// DeadError is what Wait returns for a task that became a dead letter.
type DeadError struct {
	// ID is the task's.
	ID int64
	// Reason is its last error.
	Reason string
}

func (e *DeadError) Error() string {
	return fmt.Sprintf("strunk/queue: task %d became a dead letter: %s", e.ID, e.Reason)
}

// Is reports whether target is ErrDead.
func (e *DeadError) Is(target error) bool { return target == ErrDead }

// Wait waits until the task has ended and returns its result. It hears of the end by a notification, on a connection of
// the box that its waiters and its Run share, and looks at every poll interval besides. Give ctx a deadline: the wait has
// none of its own, and a task can be tried for hours. The task must have been committed.
//
// Errors: a [*DeadError] (ErrDead), [ErrNoResult], [ErrNotFound], and that of ctx.
func (q *ResultQueue[T, R]) Wait(ctx context.Context, box *outbox.Box, id int64) (result R, err error) {
	host, err := q.host(box, "wait")
	if err != nil {
		return result, err
	}
	topics := q.def.names()
	for i, name := range topics {
		topics[i] = core.TopicResult(name)
	}
	woken, stop := host.Subscribe(topics...)
	defer stop()
	defer box.Listen(seal)()
	for {
		result, done, err := q.look(ctx, host, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return result, q.waitEnded(ctx, id)
		case done || err != nil:
			return result, err
		}
		timer := time.NewTimer(host.Settings().PollInterval)
		select {
		case <-woken:
		case <-timer.C:
		case <-ctx.Done():
			err = q.waitEnded(ctx, id)
		}
		timer.Stop()
		if err != nil {
			return result, err
		}
	}
}

// Result returns the result of a task that is done; ErrNoResult for one that has not ended.
func (q *ResultQueue[T, R]) Result(ctx context.Context, box *outbox.Box, id int64) (result R, err error) {
	host, err := q.host(box, "result")
	if err != nil {
		return result, err
	}
	result, done, err := q.look(ctx, host, id)
	if err == nil && !done {
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d has not ended: %w", q.Name(), id, ErrNoResult)
	}
	return result, err
}

// look reads the task's end, if it has come.
func (q *ResultQueue[T, R]) look(ctx context.Context, host core.Host, id int64) (result R, done bool, err error) {
	var doc []byte
	var status *Status
	var reason string
	err = host.Pool().QueryRow(ctx, host.SQL(sqlResult), id, q.def.names()).Scan(&doc, &status, &reason)
	switch {
	case err != nil:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w", q.Name(), id, err)
	case status != nil && *status == StatusDead:
		err = &DeadError{ID: id, Reason: reason}
	case doc != nil:
		return result, true, decodeResult(doc, &result)
	case status == nil:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w", q.Name(), id, ErrNotFound)
	case *status == StatusDelivered:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d is done: %w", q.Name(), id, ErrNoResult)
	}
	return result, false, err
}

func decodeResult(doc []byte, into any) error {
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("strunk/queue: result: it cannot be decoded into %s: %w", strings.TrimPrefix(fmt.Sprintf("%T", into), "*"), err)
	}
	return nil
}

// Progress is how far a running task says that it has come.
type Progress struct {
	// Percent is 0 to 100; 100 once the task has stored a result.
	Percent int
	// Message is the handler's.
	Message string
	// UpdatedAt is when it was reported, by the database's clock.
	UpdatedAt time.Time
}

// Report records, from within a handler, how far its task has come: percent is 0 to 100. It is written at once, outside the
// transaction of a handler in a transaction. A [BatchHandler] says by [TaskContext] which task is meant; its own context is of none.
// Errors: [ErrNotInHandler], [ErrLeaseLost], [ErrInvalid].
func Report(ctx context.Context, percent int, message string) error {
	if bt, ok := ctx.Value(contextKey{}).(*batch); ok {
		return fmt.Errorf("strunk/queue: report: the context is that of %d tasks, report with TaskContext(ctx, task.ID): %w", len(bt.members), ErrNotInHandler)
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
	if j.s == nil { // a test
		return nil
	}
	return j.s.report(ctx, j, percent, message)
}

func (s *session) report(ctx context.Context, j *job, percent int, message string) error {
	return reportProgress(ctx, s.rt, s.lease.ID(), j, percent, message)
}

func reportProgress(ctx context.Context, host core.Host, worker int64, j *job, percent int, message string) error {
	var held bool
	err := host.Pool().QueryRow(ctx, host.SQL(sqlReport), j.queue, worker, j.id, j.claim, percent, message).Scan(&held)
	if err == nil && !held {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: report: queue %q, task %d: %w", j.queue, j.id, err)
	}
	host.WakeLocal(core.TopicResult(j.queue))
	return nil
}

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

// waitEnded is the error of a Wait whose context has ended, with the cause that its owner gave.
func (q *ResultQueue[T, R]) waitEnded(ctx context.Context, id int64) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("strunk/queue: wait: queue %q, task %d: %w", q.Name(), id, err)
}
