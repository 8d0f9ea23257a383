package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ResultQueue is a queue whose handlers return a result of type R, which the enqueuer can wait for. Make it with
// DefineWithResult.
type ResultQueue[T, R any] struct {
	*Queue[T]

	waiters waiters
}

// DefineWithResult declares a queue as Define does. Results are kept for
// [outbox.DefaultTaskRetention] after the task is done.
func DefineWithResult[T, R any](name string, cfg Config) *ResultQueue[T, R] {
	q := Define[T](name, cfg)
	q.def.results = true
	return &ResultQueue[T, R]{Queue: q}
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
// notification, on a connection of the box that its waiters and its Run share; one statement looks
// for the ends of all that the queue's waiters in the box wait for, also at every poll interval. Give
// ctx a deadline: the wait has none of its own, and a task can be tried for hours. The task must have been committed.
//
// Errors: a [*DeadError] (ErrDead), [ErrCancelled], [ErrDiscarded], [ErrNoResult], [ErrNotFound], and that of ctx.
func (q *ResultQueue[T, R]) Wait(ctx context.Context, box *outbox.Box, id int64) (result R, err error) {
	if _, err := q.host(box, "wait"); err != nil {
		return result, err
	}
	reader, leave := q.waiters.join(box, q.def.names())
	defer leave()
	answer := reader.want(id)
	defer reader.forget(id, answer)
	select {
	case end := <-answer:
		result, _, err = q.result(end)
		return result, err
	case <-ctx.Done():
		return result, q.waitEnded(ctx, id)
	}
}

// Result returns the result of a task that is done; ErrNoResult for one that has not ended.
func (q *ResultQueue[T, R]) Result(ctx context.Context, box *outbox.Box, id int64) (result R, err error) {
	host, err := q.host(box, "result")
	if err != nil {
		return result, err
	}
	ends, err := readEnds(ctx, host, q.def.names(), id)
	if err != nil {
		ends = []taskEnd{{err: err}}
	}
	ends[0].id = id
	result, done, err := q.result(ends[0])
	if err == nil && !done {
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d has not ended: %w", q.Name(), id, ErrNoResult)
	}
	return result, err
}

// result is what a task's end means; done is false for one that has not ended.
func (q *ResultQueue[T, R]) result(end taskEnd) (result R, done bool, err error) {
	switch {
	case end.err != nil:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w", q.Name(), end.id, end.err)
	case end.status != nil && *end.status == StatusDead:
		err = &DeadError{ID: end.id, Reason: end.reason}
	case end.status != nil && *end.status == StatusCancelled:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w: %s", q.Name(), end.id, ErrCancelled, end.reason)
	case end.status != nil && *end.status == StatusDiscarded:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w: %s", q.Name(), end.id, ErrDiscarded, end.reason)
	case end.result != nil:
		return result, true, decodeResult(end.result, &result)
	case end.status == nil:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d: %w", q.Name(), end.id, ErrNotFound)
	case *end.status == StatusDelivered:
		err = fmt.Errorf("strunk/queue: result: queue %q, task %d is done: %w", q.Name(), end.id, ErrNoResult)
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
