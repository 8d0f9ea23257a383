package queuelink

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Carried is a task on its way to a broker, or back: what its row holds.
type Carried struct {
	ID                 int64
	Queue              string
	Payload            json.RawMessage
	Metadata           json.RawMessage // nil for none
	CreatedAt, DueAt   time.Time
	Timeout            time.Duration // that it was enqueued with; 0 for none
	Attempt            int           // the number of the next attempt, or of the last one on the way back
	MaxAttempts        int
	Priority           int
	DedupKey           string
	CustomerKey        string
	Error, Stack, Name string // of the last attempt and of the worker that made it; on the way back
}

// Send hands tasks to a broker. It returns an outcome for each: nil where the broker has it,
// [NotSent] where that is not known, an error that is queue.ErrPoison where it never will.
type Send func(ctx context.Context, tasks []Carried) []error

// NotSent is the outcome of a task that is to be pending again.
type NotSent struct{}

func (NotSent) Error() string { return "the task was not sent" }

// Remote runs the handlers of a worker for tasks that a broker has. Its methods are safe for use by
// several goroutines, except Ahead, which is for one.
type Remote interface {
	// Queue is the queue's name.
	Queue() string
	// Concurrency is how many handlers run at once, and Lease how long a task may go unheard of.
	Concurrency() int
	Lease() time.Duration
	// Ahead is how many tasks may be taken and not begun, given how long handlers take.
	Ahead() int
	// Attempt runs the handler in its middleware and returns what becomes of the task. A handler
	// that does not return after its context has ended is left behind.
	Attempt(base context.Context, task Carried) Outcome
	// Died calls the Dead hooks of the middleware. It does not wait for them.
	Died(task Carried)
	// Drain waits for the Dead hooks, no longer than a handler may take after the end of hard, nor
	// beyond end.
	Drain(hard, end context.Context)
}

var (
	// Carrier makes a worker of a queue (a *queue.Queue[T]) that hands tasks to send: up to batches
	// calls side by side, each of up to size tasks.
	Carrier func(queue any, send Send, batches, size int) core.Binding
	// NewRemote makes the remote of a worker. It returns everything that such a worker cannot do, by
	// name. The extensions (each a queue.Middleware) stand in the place of the box's.
	NewRemote func(worker core.Binding, extensions []any, logger *slog.Logger) (Remote, []error)
	// Returned makes a dead letter of a task that came back, in a transaction (an outbox.Tx). It
	// returns false while the task is on its way out: then it is to be called again later.
	Returned func(ctx context.Context, tx any, task Carried) (settled bool, err error)
)
