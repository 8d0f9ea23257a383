package ops

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// MaxChanges bounds the rows of each kind that one call of ChangesSince returns.
const MaxChanges = 200

// Mark is a moment of an installation: what comes later is new.
type Mark struct {
	At     time.Time
	LastID int64 // of the rows enqueued and published
	Head   int64 // of the feed
}

// Change is a task that was enqueued or has ended, or an event that was published.
type Change struct {
	At     time.Time `json:"at"`
	ID     int64     `json:"id"`
	Kind   Kind      `json:"kind"`
	Status string    `json:"status"`
	Queue  string    `json:"queue,omitempty"`
	// EntityType and EntityID are those of an event or a delivery.
	EntityType string          `json:"entity_type,omitempty"`
	EntityID   string          `json:"entity_id,omitempty"`
	Error      string          `json:"error,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
}

// ChangeFilter chooses changes; the zero value chooses all.
type ChangeFilter struct {
	// Queue chooses the tasks of a queue, EntityType the events of a type; not both.
	Queue, EntityType string
}

// idsBack is how many ids before the mark a task may have whose end is shown: it keeps the look at the
// delivered rows on a short stretch of their index of ids.
const idsBack = 20_000

const (
	// sqlMark reads the moment. It locks nothing.
	sqlMark = `SELECT pg_catalog.clock_timestamp(), (SELECT last_value FROM {schema}.strunk_outbox_id_seq),
	(SELECT head FROM {schema}.strunk_feed ORDER BY slot DESC LIMIT 1)`
	// sqlChanges lists what has changed since $1: rows enqueued (by id, above $2), ended since, and events after
	// the position $7; of queue $3 or entity type $4 (empty: any). Each part has at most $5 rows and is read by an
	// index of its own. It locks nothing.
	sqlChanges = `
(SELECT created_at AS at, id, kind, status, key, coalesce(entity_id, ''), '' AS error, payload
FROM {schema}.strunk_outbox_tasks
	WHERE id > $2 AND ($3 = '' OR key = $3) AND $4 = '' ORDER BY id LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload
FROM {schema}.strunk_outbox_delivered_tasks
	WHERE finished_at > $1 AND ($3 = '' OR key = $3) AND $4 = '' AND id > $6 ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), coalesce(last_error, ''), payload
FROM {schema}.strunk_outbox_dead
	WHERE finished_at > $1 AND ($3 = '' OR (kind = 'task' AND key = $3))
	AND ($4 = '' OR (kind = 'delivery' AND key = $4)) ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), coalesce(last_error, ''), payload
FROM {schema}.strunk_outbox_cancelled
	WHERE finished_at > $1 AND ($3 = '' OR key = $3) AND $4 = '' ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload
FROM {schema}.strunk_outbox_delivered_events
	WHERE position > $7 AND $3 = '' AND ($4 = '' OR key = $4) ORDER BY position LIMIT $5)`
)

// Now returns the mark of this moment.
func Now(ctx context.Context, box *outbox.Box) (m Mark, err error) {
	return m, wrap("now", ask(ctx, box, markQuestion(&m)))
}

// ChangesSince returns what has come and ended since the mark, in the order of time, and the mark to go on
// from. At most MaxChanges of each kind are returned: what is more is left out.
func ChangesSince(ctx context.Context, box *outbox.Box, since Mark, f ChangeFilter) (all []Change, next Mark,
	err error) {
	if err = texts(f.Queue, f.EntityType); err == nil {
		args := []any{since.At, since.LastID, f.Queue, f.EntityType, MaxChanges, since.LastID - idsBack, since.Head}
		err = ask(ctx, box, markQuestion(&next), many(&all, sqlChanges, args, scanChange))
	}
	slices.SortFunc(all, func(a, b Change) int { return a.At.Compare(b.At) })
	return all, next, wrap("changes", err)
}

func markQuestion(m *Mark) question { return one(sqlMark, nil, &m.At, &m.LastID, &m.Head) }

func scanChange(rows pgx.Rows) (c Change, err error) {
	var key string
	var payload []byte
	err = rows.Scan(&c.At, &c.ID, &c.Kind, &c.Status, &key, &c.EntityID, &c.Error, &payload)
	c.Payload = payload
	c.Queue, c.EntityType = c.Kind.named(key)
	return c, err
}

// Counters only rise: rates are their differences.
type Counters struct {
	// Enqueued counts tasks enqueued and events published since the tables were made.
	Enqueued int64
	// Delivered counts tasks done, of the partitions that are kept.
	Delivered int64
}

// sqlCounters reads how many rows have ever been enqueued and published (a sequence counts them) and inserted as
// delivered (PostgreSQL's statistics do, of the partitions of schema $1 that are kept).
const sqlCounters = `SELECT (SELECT last_value FROM {schema}.strunk_outbox_id_seq),
	(SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_catalog.pg_stat_user_tables WHERE schemaname = $1 AND
	relname LIKE 'strunk\_outbox\_delivered\_tasks\_%')`

// ReadCounters returns the counters.
func ReadCounters(ctx context.Context, box *outbox.Box) (c Counters, err error) {
	return c, wrap("counters", ask(ctx, box, one(sqlCounters, inSchema(box), &c.Enqueued, &c.Delivered)))
}
