package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Kind tells the rows of the outbox apart.
type Kind string

const (
	// KindTask is a task.
	KindTask Kind = "task"
	// KindDelivery is a copy of an event for one subscriber.
	KindDelivery Kind = "delivery"
)

// DeadLetter is a dead letter, or another task that ended without success, as lists show it: without payload and
// history, for which see Task.
type DeadLetter struct {
	ID   int64 `json:"id"`
	Kind Kind  `json:"kind"`
	// Queue is the queue's name of a task, EntityType the type of a delivery's entity.
	Queue       string    `json:"queue,omitempty"`
	EntityType  string    `json:"entity_type,omitempty"`
	EntityID    string    `json:"entity_id,omitempty"`
	Subscriber  string    `json:"subscriber,omitempty"`
	Position    int64     `json:"position,omitempty"`
	Attempts    int       `json:"attempts"`
	MaxAttempts int       `json:"max_attempts"`
	CreatedAt   time.Time `json:"created_at"`
	DiedAt      time.Time `json:"died_at"`
	// Error is the first 1,000 characters of the last error.
	Error string `json:"error"`
}

// sqlDeadLetters reads at most $5 rows of status $6, of queue $1 or subscriber $2 (null: any) after id
// $3, $4: newest first. It locks nothing.
const sqlDeadLetters = `SELECT d.id, d.kind, d.key, coalesce(d.entity_id, ''), coalesce(d.subscriber, ''),
	coalesce(d.position, 0), d.attempts,
	d.max_attempts, d.created_at, coalesce(d.finished_at, d.created_at), coalesce(d.last_error, '')
FROM {schema}.strunk_dead_letters($1::text, $2::text, $3::bigint, $4::boolean, $5::integer, $6::text) d`

// DeadLetters returns dead letters of tasks and deliveries, or what f.Status names, in the order of their ids: at most
// MaxLimit, DefaultLimit where f.Limit is zero. It looks at no row that it does not return, and refuses what would have
// to be searched: IDs, Error, OlderThan and YoungerThan are for queue.DeadLetters. To retry or purge them see
// queue.RetryDead and queue.PurgeDead. Errors: [ErrInvalid].
func DeadLetters(ctx context.Context, box *outbox.Box, f outbox.DeadFilter) (all []DeadLetter, err error) {
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(f.Queue, f.Subscriber)
	}
	status, statusErr := f.EndedStatus()
	switch {
	case err != nil:
	case statusErr != nil:
		err = fmt.Errorf("%w: %w", statusErr, ErrInvalid)
	case f.Queue != "" && f.Subscriber != "":
		err = fmt.Errorf("DeadFilter: Queue and Subscriber exclude each other: %w", ErrInvalid)
	case f.IDs != nil || f.Error != "" || f.OlderThan != 0 || f.YoungerThan != 0:
		err = fmt.Errorf("DeadFilter: IDs, Error, OlderThan and YoungerThan are searched by queue.DeadLetters: %w",
			ErrInvalid)
	default:
		var after *int64
		if f.After != 0 {
			after = &f.After
		}
		err = ask(ctx, box, many(&all, sqlDeadLetters, []any{orNull(f.Queue), orNull(f.Subscriber), after, f.Newest,
			n, status}, scanDead))
	}
	return all, wrap("dead letters", err)
}

func scanDead(rows pgx.Rows) (d DeadLetter, err error) {
	var key string
	err = rows.Scan(&d.ID, &d.Kind, &key, &d.EntityID, &d.Subscriber, &d.Position, &d.Attempts, &d.MaxAttempts,
		&d.CreatedAt, &d.DiedAt, &d.Error)
	d.Queue, d.EntityType = d.Kind.named(key)
	return d, err
}

// named says what the column key of a row holds: a task's queue, or the entity type of a delivery.
func (k Kind) named(key string) (queue, entityType string) {
	if k == KindTask {
		return key, ""
	}
	return "", key
}

// TaskDetails is a task, or a subscriber's copy of an event, as the table has it.
type TaskDetails struct {
	ID     int64        `json:"id"`
	Kind   Kind         `json:"kind"`
	Status queue.Status `json:"status"`
	// Queue is the queue's name of a task, EntityType the type of a delivery's entity.
	Queue       string     `json:"queue,omitempty"`
	EntityType  string     `json:"entity_type,omitempty"`
	EntityID    string     `json:"entity_id,omitempty"`
	Subscriber  string     `json:"subscriber,omitempty"`
	Priority    int        `json:"priority"`
	Attempts    int        `json:"attempts"`
	MaxAttempts int        `json:"max_attempts"`
	CreatedAt   time.Time  `json:"created_at"`
	DueAt       *time.Time `json:"due_at,omitempty"`
	ClaimedAt   *time.Time `json:"claimed_at,omitempty"`
	FinishedAt  *time.Time `json:"finished_at,omitempty"`
	CustomerKey string     `json:"customer_key,omitempty"`
	DedupKey    string     `json:"dedup_key,omitempty"`
	// Worker is the lease that has it or had it last.
	Worker    int64  `json:"worker,string,omitempty"`
	LastError string `json:"last_error,omitempty"`
	// History are the failed attempts, oldest first, at most the last twenty.
	History []queue.Attempt `json:"history"`
	// Percent and Message are the progress that its handler has reported; nil where it has not.
	Percent *int   `json:"percent,omitempty"`
	Message string `json:"message,omitempty"`
	// Payload and Metadata are as they are stored: what middleware has encrypted stays encrypted.
	// Over HTTP they are left out unless payloads are permitted.
	Payload  json.RawMessage `json:"payload,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// sqlTask reads the task or delivery $1 in whichever part of the table it is. It locks nothing.
const sqlTask = `SELECT o.id, o.kind, o.status, o.key, coalesce(o.entity_id, ''), coalesce(o.subscriber, ''),
	o.priority, o.attempts, o.max_attempts,
	o.created_at, o.due_at, o.claimed_at, o.finished_at, coalesce(o.customer_key, ''), coalesce(o.dedup_key, ''),
	coalesce(o.worker_id, 0), coalesce(o.last_error, ''),
	o.errors, r.percent, coalesce(r.message, ''), o.payload, o.metadata
FROM (SELECT * FROM {schema}.strunk_task($1)
	UNION ALL SELECT * FROM {schema}.strunk_outbox d WHERE d.id = $1 AND d.kind = 'delivery') o
LEFT JOIN {schema}.strunk_results r ON r.task_id = o.id AND o.kind = 'task' LIMIT 1`

// Task returns a task of any queue, or a subscriber's copy of an event, by its id. Errors: [ErrNotFound].
func Task(ctx context.Context, box *outbox.Box, id int64) (t TaskDetails, err error) {
	var key string
	var history, payload, metadata []byte
	err = ask(ctx, box, one(sqlTask, []any{id}, &t.ID, &t.Kind, &t.Status, &key, &t.EntityID, &t.Subscriber,
		&t.Priority, &t.Attempts, &t.MaxAttempts,
		&t.CreatedAt, &t.DueAt, &t.ClaimedAt, &t.FinishedAt, &t.CustomerKey, &t.DedupKey, &t.Worker, &t.LastError,
		&history, &t.Percent, &t.Message, &payload, &metadata))
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("task %d: %w", id, ErrNotFound)
	}
	t.Queue, t.EntityType = t.Kind.named(key)
	t.Payload, t.Metadata, t.History = payload, metadata, []queue.Attempt{}
	if err == nil && history != nil {
		err = json.Unmarshal(history, &t.History)
	}
	return t, wrap("task", err)
}
