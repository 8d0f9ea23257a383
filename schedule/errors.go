package schedule

import "errors"

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrInvalid says that an argument cannot be used; nothing was changed. A bad spec is also a [*SpecError].
	ErrInvalid = errors.New("invalid argument")
	// ErrNotFound says that there is no schedule with the id.
	ErrNotFound = errors.New("no such schedule")
)
