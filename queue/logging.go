package queue

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"
)

// Logging logs every attempt with its outcome and how long it took: at warn level when it fails, at debug level when it
// ends well or is snoozed. A nil logger means that of the box, which then says nothing more about a failed attempt: its
// own line about a dead letter leaves the error out.
func Logging(logger *slog.Logger) Middleware {
	return Middleware{Work: func(ctx context.Context, task *Incoming, next func(context.Context) error) error {
		to := Logger(ctx)
		if logger != nil {
			to = logger.With("queue", task.Queue(), "task", task.ID(), "attempt", task.Attempt())
		}
		began := time.Now()
		err := next(ctx)
		switch took := time.Since(began); {
		case err == nil:
			to.DebugContext(ctx, "strunk: attempt done", "took", took)
		case errors.Is(err, ErrSnoozed):
			to.DebugContext(ctx, "strunk: attempt snoozed", "took", took)
		default:
			to.WarnContext(ctx, "strunk: attempt failed", "took", took, "error", err)
			task.j.logged.Store(logger == nil)
		}
		return err
	}}
}

// Recovery turns a panic further in into a [*PanicError], so that middleware further out sees an
// error. Without it a panic fails the attempt just the same, but unwinds through all middleware.
func Recovery() Middleware {
	return Middleware{Work: func(ctx context.Context, _ *Incoming, next func(context.Context) error) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &PanicError{Value: r, Stack: string(debug.Stack())}
			}
		}()
		return next(ctx)
	}}
}
