package queue

import (
	"context"
	"log/slog"
	"time"
)

// Task is one task as its handler sees it: a plain struct that a test can write as a literal.
type Task[T any] struct {
	// ID is the row's id in strunk_outbox.
	ID int64
	// Queue is the queue's name.
	Queue string
	// Payload is what was enqueued.
	Payload T
	// Attempt is the number of this attempt, 1 for the first; crashes of a worker count.
	Attempt int
	// MaxAttempts is how often the task is tried.
	MaxAttempts int
	// Priority is 0 to MaxPriority.
	Priority int
	// CreatedAt is when the task was enqueued, by the database's clock.
	CreatedAt time.Time
	// DueAt is when it was to be handled at the earliest: CreatedAt where no delay was asked for.
	DueAt time.Time
	// CustomerKey is the option [CustomerKey] that it was enqueued with, or empty.
	CustomerKey string
	// DedupKey is the option [DedupKey] that it was enqueued with, or empty.
	DedupKey string
	// Fence is a number for outside systems that refuse what is out of date: each claim of the task
	// has a higher one, also after attempts that were given back, crashes of processes, and the retry of a dead
	// letter; over a crash of the database's server with outbox.Config.SyncClaims alone. It is 0 in queuetest.Work,
	// and where a broker carries the tasks.
	Fence int64
	// Metadata is what it was enqueued with; nil where there was none. Do not change it.
	Metadata map[string]string
}

type contextKey struct{}

// Logger returns a logger that names the task whose handler the context belongs to; in a
// [BatchHandler] it names the queue and the number of tasks (see [TaskContext]), and outside a
// handler it is slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	switch of := ctx.Value(contextKey{}).(type) {
	case *job:
		return of.logger.With("queue", of.queue, "task", of.id, "attempt", of.attempt)
	case *batch:
		first := of.members[0].j
		return first.logger.With("queue", first.queue, "tasks", len(of.members))
	}
	return slog.Default()
}
