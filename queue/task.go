package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
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
	// Key is the key that it belongs to, or empty.
	Key string
	// DedupKey is the key it was enqueued with, or empty.
	DedupKey string
	// Metadata is what it was enqueued with; nil where there was none. Do not change it.
	Metadata map[string]string
}

type contextKey struct{}

// Logger returns a logger that names the task whose handler the context belongs to; in a [BatchHandler] it names the queue and the number of
// tasks (see [TaskContext]), and outside a handler it is slog.Default().
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

// job is a claimed task without its type.
type job struct {
	id, seq, claim        int64
	queue                 string
	createdAt, dueAt      time.Time
	timeout               time.Duration
	attempt, maxAttempts  int
	priority              int
	dedupKey              string
	key                   string // for the limits per key
	place                 int64  // in the line of its key
	payload, metadataJSON []byte
	at                    pgtype.TID // where the claim left the row
	logger                *slog.Logger
	s                     *session // nil outside a worker

	// result is what the handler has returned, as JSON; nil where its queue has no results.
	result *string
	// settled says that the handler's own transaction has completed the task.
	settled bool

	state   jobState
	inBatch inBatch
}

// work handles a job: the one place where a queue's type is erased.
type work func(ctx context.Context, j *job) error

func typedWork[T any](handler Handler[T]) work {
	if handler == nil {
		return nil
	}
	return func(ctx context.Context, j *job) error {
		task, err := taskOf[T](j)
		if err != nil {
			return err
		}
		return handler(ctx, task)
	}
}

// taskOf gives a job its type.
func taskOf[T any](j *job) (Task[T], error) {
	task := Task[T]{ID: j.id, Queue: j.queue, Attempt: j.attempt, MaxAttempts: j.maxAttempts, Priority: j.priority,
		CreatedAt: j.createdAt, DueAt: j.dueAt, DedupKey: j.dedupKey, Key: j.key}
	if err := decode(j.payload, &task.Payload); err != nil {
		return task, err
	}
	return task, decode(j.metadataJSON, &task.Metadata)
}

func decode(doc []byte, into any) error {
	if doc == nil {
		return nil
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("strunk/queue: %w into %s: %w", ErrPoison, strings.TrimPrefix(fmt.Sprintf("%T", into), "*"), err)
	}
	return nil
}
