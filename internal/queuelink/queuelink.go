// Package queuelink holds functions of package queue that only this module's other packages may
// call. Package queue sets them when it is initialised, so they stay out of its documentation.
package queuelink

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Outcome is what a dry run found.
type Outcome struct {
	// Status is the status that the task would have: delivered, pending or scheduled (for another attempt), or dead.
	Status string
	// Err is the attempt's error; nil where it succeeded.
	Err error
	// Delay is the wait for the next attempt.
	Delay time.Duration
	// Unspent says that the attempt would not count.
	Unspent bool
	// Result is the result's JSON, for a queue with results.
	Result []byte
}

// Attempt is called around an attempt of a task. What it returns is the attempt's outcome, as what a handler returns.
type Attempt func(ctx context.Context, id int64, next func(context.Context) error) error

var (
	// DryRun works one task of the worker's queue within a transaction (a *outbox.OwnedTx):
	// enqueued with the options (each a queue.EnqueueOption), read back, handled in its middleware,
	// and removed.
	DryRun func(ctx context.Context, worker core.Binding, tx, payload any, options []any) (Outcome, error)

	// Enqueue enqueues a task of the worker's queue in a transaction (a *outbox.OwnedTx) with the options (each a
	// queue.EnqueueOption), and returns its id. Metadata that names a version of the schema is kept as it is.
	Enqueue func(ctx context.Context, worker core.Binding, tx, payload any, options []any) (int64, error)

	// Around returns a worker like this one with a middleware around each attempt, within that of the box and of the
	// queue, and a concurrency of two at least. Its errors say which workers have none.
	Around func(worker core.Binding, around Attempt) (core.Binding, error)

	// Waiting calls add with each task (a queue.Task[json.RawMessage]) of a queue (a
	// *queue.Queue[T]) that a transaction (an outbox.Tx) sees as scheduled or pending, in the order
	// of their ids.
	Waiting func(ctx context.Context, queue, tx any, add func(task any) error) error

	// Loaded decodes a task as it was stored for a queue (a *queue.Queue[T]), after the parts Read of the middleware,
	// and checks it against the version of the schema that it names, where the queue has a validator. It calls add
	// with the payload's JSON as a handler sees it.
	Loaded func(ctx context.Context, queue any, host core.Host, stored core.StoredPayload,
		add func(payload []byte, metadata map[string]string)) error

	// Stored checks an item (a queue.Item) and returns it as Enqueue would store it, for packages
	// that enqueue it later.
	Stored func(item any) (core.StoredItem, error)
)
