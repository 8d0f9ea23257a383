package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ResultQueue is a queue whose handlers return a result of type R, which the enqueuer can wait for. Make it with
// DefineWithResult.
type ResultQueue[T, R any] struct {
	*Queue[T]
}

// DefineWithResult declares a queue as Define does. Results are kept for
// [outbox.DefaultTaskRetention] after the task is done.
func DefineWithResult[T, R any](name string, cfg Config) *ResultQueue[T, R] {
	q := Define[T](name, cfg)
	q.def.results = true
	return &ResultQueue[T, R]{q}
}

// Worker makes a consumer whose handler returns a result, which is stored in the statement that completes the task.
func (q *ResultQueue[T, R]) Worker(handler func(ctx context.Context, task Task[T]) (R, error),
	opts ...WorkerOption) *Worker[T] {
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
	return typedWorker[T](w)
}

// WorkerInTx is Queue.WorkerInTx for a handler that returns a result.
func (q *ResultQueue[T, R]) WorkerInTx(handler func(ctx context.Context, tx *outbox.OwnedTx, task Task[T]) (R,
	error), opts ...WorkerOption) *Worker[T] {
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
	return typedWorker[T](w)
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
	// sqlResult reads what is known of task $1 of a queue, under whichever of its names ($2). It locks nothing.
	sqlResult = `SELECT r.result, o.status, coalesce(o.last_error, '')
FROM (VALUES ($1::bigint)) AS p(id)
LEFT JOIN {schema}.strunk_results r ON r.task_id = p.id AND r.queue = ANY ($2::text[])
LEFT JOIN LATERAL {schema}.strunk_task(p.id) o ON o.key = ANY ($2::text[])`
)

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

// Wait waits until the task has ended and returns its result. It hears of the end by a
// notification, on a connection of the box that its waiters and its Run share, and looks at every
// poll interval besides. Give ctx a deadline: the wait has none of its own, and a task can be tried
// for hours. The task must have been committed.
//
// Errors: a [*DeadError] (ErrDead), [ErrCancelled], [ErrDiscarded], [ErrNoResult], [ErrNotFound], and that of ctx.
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
	defer core.BoxHost(box).Listen()()
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
	case status != nil && *status == StatusCancelled:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w: %s", q.Name(), id, ErrCancelled, reason)
	case status != nil && *status == StatusDiscarded:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w: %s", q.Name(), id, ErrDiscarded, reason)
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
		return fmt.Errorf("strunk/queue: result: it cannot be decoded into %s: %w",
			strings.TrimPrefix(fmt.Sprintf("%T", into), "*"), err)
	}
	return nil
}

// waitEnded is the error of a Wait whose context has ended, with the cause that its owner gave.
func (q *ResultQueue[T, R]) waitEnded(ctx context.Context, id int64) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("strunk/queue: wait: queue %q, task %d: %w", q.Name(), id, err)
}
