package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Status is where a task stands.
type Status string

// The statuses of a row in strunk_outbox.
const (
	// StatusScheduled is a task that is not due yet, retries included.
	StatusScheduled Status = "scheduled"
	// StatusPending is a task that waits for a worker.
	StatusPending Status = "pending"
	// StatusClaimed is a task that a worker has.
	StatusClaimed Status = "claimed"
	// StatusDelivered is a task that is done.
	StatusDelivered Status = "delivered"
	// StatusDead is a dead letter: its attempts are spent, or its payload cannot be decoded.
	StatusDead Status = "dead"
	// StatusCancelled is a task that a person or a program has cancelled. It is no dead letter.
	StatusCancelled Status = "cancelled"
	// StatusDiscarded is a task that its handler gave up, see [Discard]. It is no dead letter.
	StatusDiscarded Status = "discarded"
)

// Record is a task as the table has it.
type Record[T any] struct {
	Task[T]
	Status Status
	// Raw is the payload as it is stored.
	Raw json.RawMessage
	// PayloadErr says why Raw cannot be decoded into T, which leaves Payload zero; an ErrPoison.
	PayloadErr error
	// LastError is the error of the last failed attempt, or empty.
	LastError string
	// Attempts are the failed attempts, oldest first, at most the last twenty.
	Attempts []Attempt
	// ClaimedAt is when the last attempt began; zero before the first.
	ClaimedAt time.Time
	// FinishedAt is when the task ended: delivered, dead, cancelled or discarded; zero before.
	FinishedAt time.Time
}

// Attempt is one failed attempt.
type Attempt struct {
	Number int       `json:"attempt"`
	At     time.Time `json:"at"`
	Error  string    `json:"error"`
	// Stack is the handler's stack where it panicked.
	Stack string `json:"stack"`
	// Worker is the host and process id of the worker.
	Worker string `json:"worker"`
}

// sqlGet reads one task ($1) of a queue, under whichever of its names ($2), in whichever part of
// the table it is. It locks nothing.
const sqlGet = `SELECT id, status, attempts, max_attempts, priority, created_at, due_at, claimed_at, finished_at,
	coalesce(dedup_key, ''), coalesce(customer_key, ''), coalesce(last_error, ''), payload, metadata, errors, key
FROM {schema}.strunk_task($1) WHERE key = ANY ($2::text[]) LIMIT 1`

func get[T any](ctx context.Context, box *outbox.Box, def *definition, id int64, what string) (rec Record[T],
	err error) {
	if def.err != nil {
		return rec, def.err
	}
	if box == nil {
		return rec, fmt.Errorf("strunk/queue: %s: the box is nil: %w", what, ErrInvalid)
	}
	host := core.BoxHost(box)
	rec.Queue = def.name
	err = scanRecord(host.Pool().QueryRow(ctx, host.SQL(sqlGet), id, def.names()), &rec, &rec.Queue)
	if err == nil {
		err = openRecord(ctx, &rec, middlewares(host, def.cfg.Middleware))
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return rec, fmt.Errorf("strunk/queue: %s: queue %q, task %d: %w", what, def.name, id, ErrNotFound)
	}
	if err != nil {
		return rec, fmt.Errorf("strunk/queue: %s: queue %q, task %d: %w", what, def.name, id, err)
	}
	return rec, nil
}

// scanRecord reads a row of sqlGet, and whatever columns come after.
func scanRecord[T any](row pgx.Row, rec *Record[T], more ...any) error {
	var created, due, claimed, finished finite
	var payload, metadata, history []byte
	into := []any{&rec.ID, &rec.Status, &rec.Attempt, &rec.MaxAttempts, &rec.Priority, &created, &due,
		&claimed, &finished,
		&rec.DedupKey, &rec.CustomerKey, &rec.LastError, &payload, &metadata, &history}
	if err := row.Scan(append(into, more...)...); err != nil {
		return err
	}
	rec.Raw = payload
	rec.CreatedAt = orElse(created.t, time.Time{})
	rec.DueAt = orElse(due.t, rec.CreatedAt)
	rec.ClaimedAt, rec.FinishedAt = orElse(claimed.t, time.Time{}), orElse(finished.t, time.Time{})
	rec.PayloadErr = errors.Join(decode(payload, &rec.Payload), decode(metadata, &rec.Metadata))
	if decode(history, &rec.Attempts) != nil { // a person has replaced it
		rec.Attempts = nil
	}
	return nil
}

// openRecord undoes what middleware did to the payload; Raw stays as it is stored.
func openRecord[T any](ctx context.Context, rec *Record[T], chain []Middleware) error {
	if len(chain) == 0 {
		return nil
	}
	meta, err := json.Marshal(rec.Metadata)
	if err != nil {
		return err
	}
	j := &job{id: rec.ID, queue: rec.Queue, createdAt: rec.CreatedAt, attempt: rec.Attempt,
		maxAttempts: rec.MaxAttempts,
		payload:     rec.Raw, metadataJSON: meta}
	if err := readThrough(ctx, j, chain); err != nil {
		rec.PayloadErr = err
		return nil
	}
	var zero T
	rec.Payload = zero
	rec.PayloadErr = decode(j.payload, &rec.Payload)
	return nil
}
