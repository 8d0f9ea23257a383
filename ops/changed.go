package ops

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// MaxChanges bounds the rows of each kind that one call of ChangesSince returns.
const MaxChanges = 200

// Mark is a moment of an installation: what was not committed by then is new.
type Mark struct {
	At     time.Time
	LastID int64 // of the rows enqueued and published
	Head   int64 // of the feed
	// Snapshot is PostgreSQL's (pg_current_snapshot): which transactions had committed.
	Snapshot string
}

// What has happened to a task or an event.
const (
	// ChangeEnqueued is a task that waits for a worker, or has begun since; ChangeDelayed one that waits for its due
	// time.
	ChangeEnqueued = "enqueued"
	ChangeDelayed  = "delayed"
	// ChangeRetry is a task that has failed and waits for its next attempt.
	ChangeRetry = "retry"
	// ChangeDone is a task that is done.
	ChangeDone = "done"
	// ChangeDead is a dead letter, of a task or of a subscriber.
	ChangeDead = "dead"
	// ChangeCancelled and ChangeDiscarded are tasks that ended so.
	ChangeCancelled = "cancelled"
	ChangeDiscarded = "discarded"
	// ChangePublished is an event that has its place in the feed.
	ChangePublished = "published"
)

// Change is a task that was enqueued, has failed or has ended, or an event that was published.
type Change struct {
	At   time.Time `json:"at"`
	ID   int64     `json:"id"`
	Kind Kind      `json:"kind"`
	// Happened is what has happened: ChangeRetry and the like. Status is that of the row.
	Happened string `json:"happened"`
	Status   string `json:"status"`
	// Attempts counts the failed attempts; DueAt is when the next one, or the first, is due.
	Attempts int        `json:"attempts"`
	DueAt    *time.Time `json:"due_at,omitempty"`
	Queue    string     `json:"queue,omitempty"`
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

// idsBack is how many ids before the mark a task may have whose end, or late enqueue, is shown: it keeps the look at
// the delivered rows on a short stretch of their index of ids.
const idsBack = 20_000

// longestCommit is how long the transaction of a task may take whose end, or whose enqueue, is still shown.
const longestCommit = 10 * time.Minute

// retriesSeen is how many scheduled tasks, those due next, are looked at for such that have failed.
const retriesSeen = 1_000

const (
	// sqlMark reads the moment. It locks nothing.
	sqlMark = `SELECT pg_catalog.clock_timestamp(), (SELECT last_value FROM {schema}.strunk_outbox_id_seq),
	(SELECT head FROM {schema}.strunk_feed ORDER BY slot DESC LIMIT 1), pg_catalog.pg_current_snapshot()::text`
	// sqlChanges lists what has changed since a mark. Its first part has the tasks with an id above the mark's, $2. An
	// id or a time below the mark's does not say that the mark saw a row: its transaction may have committed later. So
	// the other parts look back, to the id $6 and the time $1, and keep what the mark's snapshot, $9, does not see: of
	// the tasks enqueued, of the $8 tasks that are due next those that have failed, and of what has ended. The last
	// part has the events after the position $7: a position is given in the order of commits. All are of queue $3 or
	// entity type $4 (empty: any); each part reads at most $5 rows, by an index of its own. It locks nothing.
	sqlChanges = `
SELECT c.at, c.id, c.kind, c.status, c.key, c.entity_id, c.error, c.payload, c.attempts, c.due_at FROM (
(SELECT created_at AS at, id, kind, status, key, coalesce(entity_id, '') AS entity_id,
	coalesce(last_error, '') AS error, payload, attempts, due_at, NULL::xid AS by
FROM {schema}.strunk_outbox_tasks
	WHERE id > $2 AND ($3 = '' OR key = $3) AND $4 = '' ORDER BY id LIMIT $5)
UNION ALL
(SELECT created_at, id, kind, status, key, '', coalesce(last_error, ''), payload, attempts, due_at, xmin
FROM {schema}.strunk_outbox_tasks
	WHERE id > $6 AND id <= $2 AND ($3 = '' OR key = $3) AND $4 = '' AND attempts = 0 AND created_at > $1
	AND (status = 'scheduled' OR due_at IS NULL) ORDER BY id DESC LIMIT $5)
UNION ALL
(SELECT (errors -> -1 ->> 'at')::timestamptz, id, kind, status, key, '', coalesce(last_error, ''), payload,
	attempts, due_at, xmin
FROM (SELECT t.*, t.xmin FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'scheduled' ORDER BY t.due_at
	LIMIT $8) t
	WHERE t.id <= $2 AND t.attempts > 0 AND (t.errors -> -1 ->> 'at')::timestamptz > $1 AND ($3 = '' OR t.key = $3)
	AND $4 = '' ORDER BY 1 DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload, attempts, due_at, xmin
FROM {schema}.strunk_outbox_delivered_tasks
	WHERE finished_at > $1 AND ($3 = '' OR key = $3) AND $4 = '' AND id > $6 ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), coalesce(last_error, ''), payload, attempts,
	due_at, xmin
FROM {schema}.strunk_outbox_dead
	WHERE finished_at > $1 AND ($3 = '' OR (kind = 'task' AND key = $3))
	AND ($4 = '' OR (kind = 'delivery' AND key = $4)) ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), coalesce(last_error, ''), payload, attempts,
	due_at, xmin
FROM {schema}.strunk_outbox_cancelled
	WHERE finished_at > $1 AND ($3 = '' OR key = $3) AND $4 = '' ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload, attempts, due_at, NULL
FROM {schema}.strunk_outbox_delivered_events
	WHERE position > $7 AND $3 = '' AND ($4 = '' OR key = $4) ORDER BY position LIMIT $5)) c
WHERE c.by IS NULL OR NOT pg_catalog.pg_visible_in_snapshot((` + sqlFullID + `)::text::xid8, $9::pg_snapshot)`
	// sqlFullID is the transaction id of c.by with its epoch: of the ids with these 32 bits the one nearest to the
	// snapshot's, $9.
	sqlFullID = `SELECT greatest(3, m.id + ((c.by::text::bigint - m.id) % 4294967296 + 6442450944) % 4294967296
	- 2147483648) FROM (SELECT pg_catalog.pg_snapshot_xmax($9::pg_snapshot)::text::bigint AS id) m`
)

// Now returns the mark of this moment.
func Now(ctx context.Context, box *outbox.Box) (m Mark, err error) {
	return m, wrap("now", ask(ctx, box, markQuestion(&m)))
}

// ChangesSince returns what has come and ended since the mark, in the order of time, and the mark to go on
// from: what was committed since, however long its transaction took (up to ten minutes; a task that was enqueued in
// one that took longer than the next look may be shown at its end only). At most MaxChanges of each kind are
// returned: what is more is left out.
func ChangesSince(ctx context.Context, box *outbox.Box, since Mark, f ChangeFilter) (all []Change, next Mark,
	err error) {
	if err = texts(f.Queue, f.EntityType); err == nil {
		args := []any{since.At.Add(-longestCommit), since.LastID, f.Queue, f.EntityType, MaxChanges,
			since.LastID - idsBack, since.Head, retriesSeen, since.Snapshot}
		err = ask(ctx, box, markQuestion(&next), many(&all, sqlChanges, args, scanChange))
	}
	slices.SortFunc(all, func(a, b Change) int { return a.At.Compare(b.At) })
	return all, next, wrap("changes", err)
}

func markQuestion(m *Mark) question { return one(sqlMark, nil, &m.At, &m.LastID, &m.Head, &m.Snapshot) }

func scanChange(rows pgx.Rows) (c Change, err error) {
	var key string
	var payload []byte
	err = rows.Scan(&c.At, &c.ID, &c.Kind, &c.Status, &key, &c.EntityID, &c.Error, &payload, &c.Attempts,
		&c.DueAt)
	c.Happened = happened(c)
	c.Payload = payload
	c.Queue, c.EntityType = c.Kind.named(key)
	return c, err
}

func happened(c Change) string {
	switch queue.Status(c.Status) {
	case queue.StatusDead:
		return ChangeDead
	case queue.StatusCancelled:
		return ChangeCancelled
	case queue.StatusDiscarded:
		return ChangeDiscarded
	case queue.StatusDelivered:
		if c.Kind == KindTask {
			return ChangeDone
		}
		return ChangePublished
	}
	switch {
	case c.Attempts > 0:
		return ChangeRetry
	case queue.Status(c.Status) == queue.StatusScheduled:
		return ChangeDelayed
	}
	return ChangeEnqueued
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
