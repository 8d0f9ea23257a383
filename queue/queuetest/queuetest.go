// Package queuetest helps to test code that enqueues and handles tasks, on the user's own test database: one on which
// outbox.Migrate has run (outbox/outboxtest has a throwaway one).
package queuetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/internal/runtest"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// RollBack returns a transaction that is rolled back at the end of the test: nothing of the test is
// left in the database, and tests that use it can share one.
func RollBack(t testing.TB, box *outbox.Box) *outbox.OwnedTx {
	t.Helper()
	tx, err := box.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// Outcome is what came of an attempt that [Work] made.
type Outcome struct {
	// Status is the status that the task would have: delivered, pending or scheduled (for another attempt), or dead.
	Status queue.Status
	// Err is the attempt's error; nil where it succeeded.
	Err error
	// Delay is the wait for the next attempt.
	Delay time.Duration
	// Unspent says that the attempt would not count.
	Unspent bool
	// Result is the result's JSON, for a queue with results.
	Result []byte
}

// Work has a worker handle one task within the transaction, and returns what came of it. The task
// is enqueued with its middleware, read back, decoded, and handled as by Box.Run; a handler in a
// transaction has this one, and what it wrote is undone where it failed. The task itself is gone
// afterwards, so that [Enqueued] shows what the handler enqueued. The worker's inbox, progress
// reports and deliveries by other workers are left out. What cannot be enqueued fails the test.
func Work[T any](
	t testing.TB, tx *outbox.OwnedTx, worker *queue.Worker[T], payload T, opts ...queue.EnqueueOption,
) Outcome {
	t.Helper()
	if worker == nil || tx == nil {
		t.Fatal("queuetest.Work: the worker or the transaction is nil")
	}
	binding, err := core.BindingOf(worker)
	if err != nil {
		t.Fatalf("queuetest.Work: the worker %v", err)
	}
	defer core.Dismiss(binding)
	options := make([]any, len(opts))
	for _, err := range binding.Prepare(core.TxOf(tx).Host()) {
		t.Fatal(err)
	}
	for i, o := range opts {
		options[i] = o
	}
	o, err := queuelink.DryRun(t.Context(), binding, tx, payload, options)
	if err != nil {
		t.Fatal(err)
	}
	return Outcome{Status: queue.Status(o.Status), Err: o.Err, Delay: o.Delay, Unspent: o.Unspent, Result: o.Result}
}

// Enqueued returns the queue's tasks that the transaction sees as scheduled or pending, oldest first.
func Enqueued[T any](t testing.TB, tx outbox.Tx, q *queue.Queue[T]) []queue.Task[T] {
	t.Helper()
	var tasks []queue.Task[T]
	err := queuelink.Waiting(t.Context(), q, tx, func(task any) error {
		typed, err := typedTask[T](task.(queue.Task[json.RawMessage]))
		tasks = append(tasks, typed)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

// typedTask decodes a task's payload.
func typedTask[T any](raw queue.Task[json.RawMessage]) (queue.Task[T], error) {
	task := queue.Task[T]{ID: raw.ID, Queue: raw.Queue, Attempt: raw.Attempt, MaxAttempts: raw.MaxAttempts,
		Priority: raw.Priority, CreatedAt: raw.CreatedAt, DueAt: raw.DueAt, CustomerKey: raw.CustomerKey,
		DedupKey: raw.DedupKey, Metadata: raw.Metadata}
	return task, json.Unmarshal(raw.Payload, &task.Payload)
}

// RequireEnqueued fails the test unless exactly one task of the queue waits with this payload (compared as JSON), and
// returns it.
func RequireEnqueued[T any](t testing.TB, tx outbox.Tx, q *queue.Queue[T], payload T) queue.Task[T] {
	t.Helper()
	want := runtest.JSON(t, payload)
	var found []queue.Task[T]
	var others bytes.Buffer
	for _, task := range Enqueued(t, tx, q) {
		if got := runtest.JSON(t, task.Payload); got == want {
			found = append(found, task)
		} else {
			fmt.Fprintf(&others, "\n  task %d: %s", task.ID, got)
		}
	}
	if len(found) != 1 {
		t.Fatalf("queue %q: %d tasks wait with the payload %s; want 1. Others:%s", q.Name(), len(found), want,
			others.String())
	}
	return found[0]
}

// RequireNone fails the test if any task of the queue waits.
func RequireNone[T any](t testing.TB, tx outbox.Tx, q *queue.Queue[T]) {
	t.Helper()
	if tasks := Enqueued(t, tx, q); len(tasks) > 0 {
		t.Fatalf("queue %q: %d tasks wait; want none. The first: %s", q.Name(), len(tasks),
			runtest.JSON(t, tasks[0].Payload))
	}
}

// DrainTimeout is how long Drain waits.
const DrainTimeout = 30 * time.Second

// sqlActive counts the tasks of queues $1 that are at work, or will be within a second.
const sqlActive = `SELECT count(*) FROM {schema}.strunk_outbox
WHERE kind = 'task' AND key = ANY ($1::text[]) AND (status IN ('pending', 'claimed')
	OR (status = 'scheduled' AND due_at < {schema}.strunk_now() + interval '1 second'))`

// Drain runs the workers until no task of their queues is pending, claimed, or due within a second.
// Tasks scheduled for later stay. It fails the test when that takes longer than DrainTimeout. Tasks
// must have been committed.
func Drain(t testing.TB, box *outbox.Box, workers ...outbox.Binding) {
	t.Helper()
	names, err := runtest.Names("worker", workers)
	if err != nil {
		t.Fatalf("queuetest.Drain: %v", err)
	}
	left := 0
	err = runtest.Run(DrainTimeout, box, workers, func(ctx context.Context, host core.Host) (bool, error) {
		err := host.Pool().QueryRow(ctx, host.SQL(sqlActive), names).Scan(&left)
		return left == 0, err
	})
	if err != nil {
		t.Fatalf("queuetest.Drain: %d tasks are left: %v", left, err)
	}
}

// Failing returns a handler that fails with err as often as times says, over all tasks, and then
// does as next does (nil: nothing).
func Failing[T any](times int, err error, next queue.Handler[T]) queue.Handler[T] {
	var calls atomic.Int64
	return func(ctx context.Context, task queue.Task[T]) error {
		if calls.Add(1) <= int64(times) {
			return err
		}
		if next == nil {
			return nil
		}
		return next(ctx, task)
	}
}

// Slow returns a handler that waits for d, or until its context ends, before it does as next does (nil: nothing). A
// context that ends is its error.
func Slow[T any](d time.Duration, next queue.Handler[T]) queue.Handler[T] {
	return func(ctx context.Context, task queue.Task[T]) error {
		if core.Sleep(ctx, d); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if next == nil {
			return nil
		}
		return next(ctx, task)
	}
}
