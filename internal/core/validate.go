package core

import "context"

// hostKey is where a context keeps the box for validators.
type hostKey struct{}

// WithHost is the context that a validator is called with: one that stands in a declaration, and
// serves several boxes, asks it for the box of the transaction.
func WithHost(ctx context.Context, host Host) context.Context {
	return context.WithValue(ctx, hostKey{}, host)
}

// HostOf returns what WithHost put in, or nil.
func HostOf(ctx context.Context) Host {
	host, _ := ctx.Value(hostKey{}).(Host)
	return host
}

// NotChecked is an error of a validator that could not do its work: nothing is wrong with what it was given.
type NotChecked struct{ Err error }

func (e *NotChecked) Error() string { return e.Err.Error() }

func (e *NotChecked) Unwrap() error { return e.Err }
