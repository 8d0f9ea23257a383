package jetstream

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid says that an argument cannot be used; nothing was started.
	ErrInvalid = errors.New("invalid argument")
	// ErrUnusable says that the stream cannot be used as it is configured. A person must act.
	ErrUnusable = errors.New("the stream cannot be used")
)

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnusable, fmt.Errorf(format, args...))
}
