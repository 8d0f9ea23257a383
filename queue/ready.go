package queue

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

// Logging logs every attempt with its outcome and how long it took: at debug level when it ends well, at warn level when it fails.
// A nil logger means that of the box.
func Logging(logger *slog.Logger) Middleware {
	return Middleware{Work: func(ctx context.Context, task *Incoming, next func(context.Context) error) error {
		to := Logger(ctx)
		if logger != nil {
			to = logger.With("queue", task.Queue(), "task", task.ID(), "attempt", task.Attempt())
		}
		began := time.Now()
		err := next(ctx)
		if took := time.Since(began); err != nil {
			to.WarnContext(ctx, "strunk: attempt failed", "took", took, "error", err)
		} else {
			to.DebugContext(ctx, "strunk: attempt done", "took", took)
		}
		return err
	}}
}

// Recovery turns a panic further in into a [*PanicError], so that middleware further out sees an error. Without it a panic
// fails the attempt just the same, but unwinds through all middleware.
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
