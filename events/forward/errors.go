package forward

import (
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

var (
	// ErrRefused says that the other side will never take this message: it is too large, for
	// example. Its entity is parked.
	ErrRefused = errors.New("the message is refused")
	// ErrUnusable says that the other side cannot be used as it is configured: a stream that is not there, a wrong
	// retention, a missing right. A person must act.
	ErrUnusable = errors.New("the destination cannot be used")
)

// Refused returns an [ErrRefused] that says why.
func Refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// Unusable returns an [ErrUnusable] that says why.
func Unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnusable, fmt.Errorf(format, args...))
}

// refusal is a refused message as the subscriber sees it: an event that more attempts do not help.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Is reports events.ErrPoison.
func (r refusal) Is(target error) bool {
	_, ok := target.(*core.Poison)
	return ok
}
