package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// DeliveryState is what becomes of a delivery.
type DeliveryState string

const (
	// DeliveryParked is a delivery that failed and is kept until a person retries or releases it.
	DeliveryParked DeliveryState = "parked"
	// DeliveryRetrying is a delivery that is tried again at a time, now, or at this moment.
	DeliveryRetrying DeliveryState = "retrying"
)

// ParkedEntity is an entity whose events are deliveries for one subscriber: the first, of which the entry tells, has
// failed, and the others wait behind it.
type ParkedEntity struct {
	EntityType string `json:"entity_type"`
	EntityID   string `json:"entity_id"`
	// ID is the delivery's row in strunk_outbox.
	ID          int64         `json:"id"`
	State       DeliveryState `json:"state"`
	Position    int64         `json:"position"`
	Version     int64         `json:"version"`
	Attempts    int           `json:"attempts"`
	MaxAttempts int           `json:"max_attempts"`
	// NextAttemptAt is when it is tried again; nil where it is parked, or tried now.
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
	// Events counts the deliveries of the entity: the failing one, and those that wait behind it.
	Events Count `json:"events"`
	// Error is the first 1,000 characters of the last error.
	Error string `json:"error"`
}

// ParkedFilter chooses a subscriber's entities, by type and id.
type ParkedFilter struct {
	Subscriber string
	// AfterType and AfterID are those of the last entity of the page before.
	AfterType, AfterID string
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

const (
	// sqlHasSubscriber reads whether there is a subscriber $1. It locks nothing.
	sqlHasSubscriber = `SELECT EXISTS (SELECT 1 FROM {schema}.strunk_subscribers s WHERE s.name = $1::text)`
	// sqlParked reads the first delivery of at most $4 entities of subscriber $1 after entity $3 of type $2, and counts
	// the deliveries of each to $5. It steps from entity to entity, so that it reads no delivery that waits
	// but those it counts. It locks nothing.
	sqlParked = `WITH RECURSIVE heads AS (
	(SELECT d.key, d.entity_id, d.id FROM {schema}.strunk_outbox_deliveries d
	WHERE d.subscriber = $1::text AND (d.key, d.entity_id) > ($2::text, $3::text)
	ORDER BY d.subscriber, d.key, d.entity_id, d.version, d.id LIMIT 1)
	UNION ALL
	SELECT n.key, n.entity_id, n.id FROM heads h CROSS JOIN LATERAL (
		SELECT d.key, d.entity_id, d.id FROM {schema}.strunk_outbox_deliveries d
		WHERE d.subscriber = $1::text AND (d.key, d.entity_id) > (h.key, h.entity_id)
		ORDER BY d.subscriber, d.key, d.entity_id, d.version, d.id LIMIT 1) n)
SELECT d.key, d.entity_id, d.id,
	CASE WHEN d.status = 'scheduled' AND d.due_at IS NULL THEN 'parked' ELSE 'retrying' END, coalesce(d.position, 0),
	d.version, d.attempts, d.max_attempts, d.due_at, pg_catalog.left(coalesce(d.last_error, ''), 1000),
	least(e.n, $5::integer), CASE WHEN e.n > $5::integer THEN 'at_least' ELSE 'exact' END
FROM (SELECT * FROM heads LIMIT $4::integer) h
JOIN {schema}.strunk_outbox_deliveries d ON d.id = h.id
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_deliveries x
	WHERE x.subscriber = $1::text AND x.key = h.key AND x.entity_id = h.entity_id LIMIT $5::integer + 1) y) e
ORDER BY d.key, d.entity_id`
)

// Parked returns the entities that are parked for a subscriber, or between two attempts, by type and id. To act on them
// see events.RetryParked and events.Release. Errors: [ErrNotFound], [ErrInvalid].
func Parked(ctx context.Context, box *outbox.Box, f ParkedFilter) (all []ParkedEntity, err error) {
	if err := core.CheckName(f.Subscriber); err != nil {
		return nil, fmt.Errorf("strunk/ops: parked: the subscriber's name %w: %w", err, ErrInvalid)
	}
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(f.AfterType, f.AfterID)
	}
	known := false
	if err == nil {
		err = ask(ctx, box, one(sqlHasSubscriber, []any{f.Subscriber}, &known), many(&all, sqlParked,
			[]any{f.Subscriber, f.AfterType, f.AfterID, n, ListCountCap}, scanParked))
	}
	if err == nil && !known {
		err = fmt.Errorf("subscriber %q: %w", f.Subscriber, ErrNotFound)
	}
	return all, wrap("parked", err)
}

func scanParked(rows pgx.Rows) (p ParkedEntity, err error) {
	return p, rows.Scan(&p.EntityType, &p.EntityID, &p.ID, &p.State, &p.Position, &p.Version, &p.Attempts,
		&p.MaxAttempts, &p.NextAttemptAt, &p.Error, &p.Events.N, &p.Events.Precision)
}
