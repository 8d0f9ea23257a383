package queue

import (
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrInvalid says that an argument cannot be used; nothing was changed.
	ErrInvalid = errors.New("invalid argument")
	// ErrDedupBusy says that transactions which enqueue the same dedup keys wait for each other,
	// and this one was chosen to give way. The caller's transaction is intact; trying again, best
	// in a new transaction, succeeds.
	ErrDedupBusy = errors.New("the dedup key is being enqueued by transactions that wait for each other")
	// ErrLeaseLost says that a task is no longer this worker's: its lease ran out and another may
	// have it. It is the cause of a handler's context that ended for it.
	ErrLeaseLost = errors.New("the lease was lost")
	// ErrCancelled is the cause of a handler's context that ended because the task was cancelled,
	// and what waiting for a cancelled task returns.
	ErrCancelled = errors.New("the task was cancelled")
	// ErrSnoozed is what errors.Is finds in the outcome of a handler that asked for its task to be
	// put off, see [Snooze].
	ErrSnoozed = errors.New("the task was snoozed")
	// ErrDiscarded is what errors.Is finds in the outcome of a handler that gave its task up, see
	// [Discard], and what waiting for a discarded task returns.
	ErrDiscarded = errors.New("the task was discarded")
	// ErrDead says that a task that is waited for became a dead letter: see [DeadError].
	ErrDead = errors.New("the task became a dead letter")
	// ErrNoResult says that a task has no result (any more), or not yet.
	ErrNoResult = errors.New("there is no result")
	// ErrNotInHandler says that a function was called with a context that is not a handler's.
	ErrNotInHandler = errors.New("the context is not that of a handler")
	// ErrNoDatabase says that a handler has asked for what a worker at a broker cannot do.
	ErrNoDatabase = errors.New("there is no database")
	// ErrNotFound says that there is no such task in the queue.
	ErrNotFound = errors.New("no such task")
	// ErrNoBatch says that there is no such batch (any more).
	ErrNoBatch = errors.New("no such batch")
	// ErrBatchEnded says that a batch takes no more tasks: it is finished, was cancelled, or is not there. Nothing was
	// added, and the transaction is intact.
	ErrBatchEnded = errors.New("the batch takes no more tasks")
	// ErrStepChanged says that an earlier attempt has stored the result of a step with another type, or under a name
	// that is not declared.
	ErrStepChanged = errors.New("the step has changed")
	// ErrPoison says that a payload cannot be decoded into the queue's type, or
	// (schema.UndecodableError) brought to it. Such a task becomes a dead letter at once, its
	// payload as it was.
	ErrPoison = core.NewPoison("the payload cannot be decoded")
	// ErrTimeout is the cause of a handler's context that ended at the task's timeout.
	ErrTimeout = errors.New("the task's timeout is over")
	// ErrShutdown is the cause of a handler's context that ended because the grace period of a shutdown was over.
	ErrShutdown = errors.New("the grace period of the shutdown is over")
)

// PanicError is the error of an attempt whose handler panicked.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the handler's stack.
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// Unwrap returns the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
