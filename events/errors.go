package events

import (
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrInvalid says that an argument cannot be used; nothing was changed.
	ErrInvalid = errors.New("invalid argument")
	// ErrNotFound says that there is no such entity, parked entity or dead letter.
	ErrNotFound = errors.New("not found")
	// ErrUnknownSubscriber says that no subscriber of that name has ever run.
	ErrUnknownSubscriber = errors.New("unknown subscriber")
	// ErrPoison says that an event cannot be decoded into the stream's type, or
	// (schema.UndecodableError) brought to it. More attempts do not help it: with Park and
	// DeadLetter it is parked or dead at once.
	ErrPoison = core.NewPoison("the event cannot be decoded")
	// ErrTimeout is the cause of a handler's context that ended at the timeout.
	ErrTimeout = errors.New("the handler's timeout is over")
	// ErrLeaseLost is the cause of a handler's context that ended because another process has the subscriber.
	ErrLeaseLost = errors.New("the lease was lost")
	// ErrRewound is the cause of a handler's context that ended because the subscriber was replayed or reset.
	ErrRewound = errors.New("the subscriber was rewound")
	// ErrShutdown is the cause of a handler's context that ended because the grace period of a shutdown was over.
	ErrShutdown = errors.New("the grace period of the shutdown is over")

	errZeroStream = errors.New("strunk/events: the zero Stream is unusable: declare it with events.Define")
)

// RangeError says that a position cannot be replayed from. It is an ErrInvalid.
type RangeError struct {
	// From is the position asked for.
	From int64
	// Earliest and Head are the first and the last position that are kept.
	Earliest, Head int64
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("position %d is not among those that are kept, %d to %d; 0 is the earliest", e.From,
		e.Earliest, e.Head)
}

// Is reports ErrInvalid.
func (e *RangeError) Is(target error) bool { return target == ErrInvalid }

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
