package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlParked lists the entities that have deliveries for subscriber $1, at most $2. It locks nothing.
	sqlParked = `SELECT DISTINCT ON (d.key, d.entity_id) d.key, d.entity_id, d.id, coalesce(d.position, 0),
		d.version, d.attempts,
	coalesce(d.last_error, ''), d.status = 'scheduled' AND d.due_at IS NULL, pg_catalog.count(*) OVER (PARTITION
	BY d.key, d.entity_id)
FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = $1 ORDER BY d.key, d.entity_id, d.version, d.id LIMIT $2`
	// sqlRetryParked has the parked deliveries of subscriber $1, of entity $2 or (null) of all, tried again.
	sqlRetryParked = `SELECT {schema}.strunk_retry_parked($1::text, $2::text)`
	// sqlReleaseParked gives up on the oldest delivery of entity $2 for subscriber $1.
	sqlReleaseParked = `SELECT {schema}.strunk_release_parked($1::text, $2::text)`
	// sqlDead lists the dead letters of subscriber $1, newest first, at most $2. It locks nothing.
	sqlDead = `SELECT d.id, d.key, d.entity_id, coalesce(d.position, 0), d.version, d.attempts,
		coalesce(d.last_error, ''), d.payload, d.errors, d.finished_at
FROM {schema}.strunk_outbox_dead d WHERE d.subscriber = $1 AND d.kind = 'delivery' ORDER BY d.id DESC LIMIT $2`
	// sqlRetryDead has dead letters $2 (null: all) of subscriber $1 redelivered.
	sqlRetryDead = `SELECT retried, last_id FROM {schema}.strunk_retry_dead_deliveries($1::text, $2::bigint[],
		$3::bigint, $4::integer, $5::bigint)`
)

// ParkedEntity is an entity that is parked for one subscriber, or between two attempts: its events
// are deliveries, copies for this subscriber alone. The first is the event that failed.
type ParkedEntity struct {
	EntityType, EntityID string
	// ID is the delivery's row in strunk_outbox; Position and Version are the failing event's.
	ID, Position, Version int64
	// Attempts and LastError are the failing event's.
	Attempts  int
	LastError string
	// Waiting says that a person must act; otherwise another attempt comes by itself.
	Waiting bool
	// Events counts the deliveries: the failing event, and those that wait behind it.
	Events int64
}

// Parked lists the entities that are parked for a subscriber, or between two attempts, at most limit.
func Parked(ctx context.Context, box *outbox.Box, name string, limit int) ([]ParkedEntity, error) {
	return list[ParkedEntity](ctx, box, "parked", sqlParked, name, limit)
}

// RetryParked has a subscriber try a parked entity again; the attempts begin anew. Errors: [ErrNotFound].
func RetryParked(ctx context.Context, box *outbox.Box, name, entityID string) error {
	n, err := count(ctx, box, "retry parked", name, sqlRetryParked, name, entityID)
	if err == nil && n == 0 {
		return adminError("retry parked", name, fmt.Errorf("entity %q: %w", clip(entityID), ErrNotFound))
	}
	return err
}

// RetryAllParked is RetryParked for all of a subscriber's parked entities; it returns how many there were.
func RetryAllParked(ctx context.Context, box *outbox.Box, name string) (int64, error) {
	return count(ctx, box, "retry parked", name, sqlRetryParked, name, nil)
}

// Release gives up on the event that an entity is parked for: it becomes a dead letter of the
// subscriber, and what waits behind it is delivered. Errors: [ErrNotFound], also while the event is
// being tried.
func Release(ctx context.Context, box *outbox.Box, name, entityID string) error {
	return known(ctx, box, "release", name, fmt.Errorf("entity %q: %w", clip(entityID), ErrNotFound),
		sqlReleaseParked, name, entityID)
}

// DeadEvent is a dead letter: an event that its subscriber has given up. The feed still has the event for the others.
type DeadEvent struct {
	// ID is the dead letter's row in strunk_outbox.
	ID                   int64
	EntityType, EntityID string
	Position, Version    int64
	Attempts             int
	LastError            string
	// State is the entity's state as it was published; nil for a tombstone.
	State json.RawMessage
	// Errors are the failed attempts, oldest first, at most the last twenty, as a JSON array.
	Errors json.RawMessage
	DiedAt time.Time
}

// Dead lists a subscriber's dead letters, newest first, at most limit.
func Dead(ctx context.Context, box *outbox.Box, name string, limit int) ([]DeadEvent, error) {
	return list[DeadEvent](ctx, box, "dead", sqlDead, name, limit)
}

// RetryDead has dead letters redelivered to their subscriber alone, with attempts that begin anew;
// without ids all of them. It returns how many there were; what was retried before an error stays
// retried. They come late: newer versions of their entities may have been handled.
func RetryDead(ctx context.Context, box *outbox.Box, name string, ids ...int64) (total int64, err error) {
	size, after := core.NewBatchLimit(maxRead, maxReadBytes), int64(0)
	for {
		rows, bytes := size.Now()
		var n int64
		var last *int64
		err := admin(ctx, box, "retry dead", name, sqlRetryDead, []any{name, ids, after, rows, bytes}, &n, &last)
		switch {
		case err != nil && ctx.Err() == nil && size.Failed(err):
			continue
		case err != nil || last == nil:
			return total, err
		}
		size.Succeeded()
		total, after = total+n, *last
	}
}

func count(ctx context.Context, box *outbox.Box, what, name, sql string, args ...any) (n int64, err error) {
	err = admin(ctx, box, what, name, sql, args, &n)
	return n, err
}

func list[T any](ctx context.Context, box *outbox.Box, what, sql, name string, limit int) ([]T, error) {
	if box == nil {
		return nil, adminError(what, name, fmt.Errorf("the box is nil: %w", ErrInvalid))
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sql), name, max(limit, 0))
	if err != nil {
		return nil, adminError(what, name, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, adminError(what, name, err)
	}
	return all, nil
}
