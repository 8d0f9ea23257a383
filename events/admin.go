package events

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlRewind sets the place of subscriber $1 to position $2; $3 starts it over.
	sqlRewind = `SELECT outcome, coalesce(earliest, 0), coalesce(head, 0), coalesce(cursor, 0)
		FROM {schema}.strunk_rewind($1::text, $2::bigint, $3::boolean)`
	// sqlPause pauses ($2) or resumes subscriber $1.
	sqlPause = `SELECT {schema}.strunk_pause_subscriber($1::text, $2::boolean)`
	// sqlSkip has subscriber $1 skip the event at position $2, which blocks it.
	sqlSkip = `SELECT {schema}.strunk_skip_event($1::text, $2::bigint)`
	// sqlUnregister removes subscriber $1.
	sqlUnregister = `SELECT {schema}.strunk_unregister($1::text)`
	// sqlSubscribers describes the subscribers, or ($1 not null) one of them. It locks nothing.
	sqlSubscribers = `SELECT s.name, s.entity_type, s.cursor, h.head, l.floor + 1, h.head - s.cursor, s.start,
		s.bootstrap <> 'done', s.paused, s.needs_restart,
	coalesce(s.host || '/' || s.pid, ''), s.registered_at, s.moved_at,
	coalesce((SELECT (extract(epoch FROM pg_catalog.clock_timestamp() - min(e.created_at)) * 1000)::bigint
		FROM unnest(s.entity_type || s.previous_types) AS t(type) CROSS JOIN LATERAL (SELECT e.created_at
		FROM {schema}.strunk_outbox_delivered_events e
			WHERE e.key = t.type AND e.position > s.cursor ORDER BY e.position LIMIT 1) e), 0),
	(SELECT pg_catalog.count(DISTINCT (d.key, d.entity_id)) FROM {schema}.strunk_outbox_deliveries d
	WHERE d.subscriber = s.name),
	(SELECT pg_catalog.count(*) FROM {schema}.strunk_outbox_dead d WHERE d.subscriber = s.name),
	coalesce(r.position, 0), coalesce(r.attempts, 0), coalesce(r.last_error, '')
FROM {schema}.strunk_subscribers s
CROSS JOIN (SELECT f.head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1) h
CROSS JOIN {schema}.strunk_feed_floor l
LEFT JOIN LATERAL (SELECT t.* FROM {schema}.strunk_retries t WHERE t.subscriber = s.name
AND t.position > s.cursor AND t.last_error IS NOT NULL
	ORDER BY t.position LIMIT 1) r ON true
WHERE $1::text IS NULL OR s.name = $1 ORDER BY s.name`
)

// Replay has a subscriber handle the events from position from on again; 0 is the earliest that is
// kept. It may be running in any process: its owner notices, drops what is under way, and goes on
// from there. Deliveries of events that come again are dropped; entities parked before from stay
// parked. Errors: [ErrUnknownSubscriber], [*RangeError].
func Replay(ctx context.Context, box *outbox.Box, name string, from int64) error {
	return rewind(ctx, box, "replay", name, from, false)
}

// Reset has a subscriber start over as when its name was new: from the snapshots where it starts
// with those, else from the earliest event that is kept. What is parked for it is dropped, for it
// comes again. Errors: [ErrUnknownSubscriber].
func Reset(ctx context.Context, box *outbox.Box, name string) error {
	return rewind(ctx, box, "reset", name, 0, true)
}

func rewind(ctx context.Context, box *outbox.Box, what, name string, from int64, reset bool) error {
	var outcome string
	var earliest, head, cursor int64
	err := admin(ctx, box, what, name, sqlRewind, []any{name, from, reset}, &outcome, &earliest, &head, &cursor)
	switch {
	case err != nil:
		return err
	case outcome == "unknown":
		return adminError(what, name, ErrUnknownSubscriber)
	case outcome == "range":
		return adminError(what, name, &RangeError{From: from, Earliest: earliest, Head: head})
	}
	return nil
}

// Pause stops the delivery to a subscriber, in whatever process it runs, until Resume; handlers
// that run finish. Errors: [ErrUnknownSubscriber].
func Pause(ctx context.Context, box *outbox.Box, name string) error {
	return known(ctx, box, "pause", name, ErrUnknownSubscriber, sqlPause, name, true)
}

// Resume ends a Pause. Errors: [ErrUnknownSubscriber].
func Resume(ctx context.Context, box *outbox.Box, name string) error {
	return known(ctx, box, "resume", name, ErrUnknownSubscriber, sqlPause, name, false)
}

// Skip has a subscriber with the policy Block pass the event at a position that blocks it: it becomes a dead letter.
// Errors: [ErrNotFound] where that event does not block it.
func Skip(ctx context.Context, box *outbox.Box, name string, position int64) error {
	return known(ctx, box, "skip", name, ErrNotFound, sqlSkip, name, position)
}

// Unregister forgets a subscriber that runs no more, and what is parked for it: retention waits for
// it no longer. Its dead letters stay. A process that runs it still registers it anew. Errors:
// [ErrUnknownSubscriber].
func Unregister(ctx context.Context, box *outbox.Box, name string) error {
	return known(ctx, box, "unregister", name, ErrUnknownSubscriber, sqlUnregister, name)
}

// known runs a statement that returns whether it found what it was to change.
func known(ctx context.Context, box *outbox.Box, what, name string, otherwise error, sql string, args ...any) error {
	var found bool
	if err := admin(ctx, box, what, name, sql, args, &found); err != nil {
		return err
	}
	if !found {
		return adminError(what, name, otherwise)
	}
	return nil
}

// admin runs one statement as a transaction and wakes the subscriber's owner.
func admin(ctx context.Context, box *outbox.Box, what, name, sql string, args []any, dest ...any) error {
	if box == nil {
		return adminError(what, name, fmt.Errorf("the box is nil: %w", ErrInvalid))
	}
	host := core.BoxHost(box)
	err := host.Pool().AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn.Conn(), core.Statement{SQL: host.SQL(sql), Args: args,
				Scan: func(rows pgx.Rows) error {
					_, err := pgx.ForEachRow(rows, dest, func() error { return nil })
					return err
				}})
		})
	})
	if err != nil {
		return adminError(what, name, err)
	}
	host.Wake(topicSubscriber(name))
	return nil
}

func adminError(what, name string, err error) error {
	return fmt.Errorf("strunk/events: %s: subscriber %q: %w", what, clip(name), err)
}

// SubscriberStatus is where a subscriber stands.
type SubscriberStatus struct {
	Name       string
	EntityType string
	// Cursor is the position up to which everything is handled, parked, dead or passed over.
	Cursor int64
	// Head and Earliest are the last and the first position that the feed keeps.
	Head, Earliest int64
	// Positions is how many events, of all types, the feed has after the cursor: Head - Cursor.
	Positions int64
	// Start is where it began.
	Start Start
	// Bootstrapping says that it is still given the snapshots, or follows the feed without what they had.
	Bootstrapping bool
	Paused        bool
	// NeedsRestart says that events which it has not had were dropped: replay or reset it.
	NeedsRestart bool
	// Owner names the process (host and process id) that has it; empty where none does.
	Owner        string
	RegisteredAt time.Time
	// MovedAt is when the cursor last moved.
	MovedAt time.Time
	// Lag is how long ago the oldest event that it has not passed was published, by the database's
	// clock; 0 where there is none.
	Lag time.Duration
	// Parked counts the entities that have deliveries for it, and Dead its dead letters.
	Parked, Dead int64
	// BlockedAt is the position of the event that blocks it, 0 where none does; Attempts and
	// LastError are that event's.
	BlockedAt int64
	Attempts  int
	LastError string
}

// Subscribers describes all registered subscribers, in order of their names.
func Subscribers(ctx context.Context, box *outbox.Box) ([]SubscriberStatus, error) {
	return subscribers(ctx, box, nil)
}

// SubscriberStats describes one. Errors: [ErrUnknownSubscriber].
func SubscriberStats(ctx context.Context, box *outbox.Box, name string) (SubscriberStatus, error) {
	all, err := subscribers(ctx, box, &name)
	if err != nil {
		return SubscriberStatus{}, err
	}
	if len(all) == 0 {
		return SubscriberStatus{}, adminError("stats", name, ErrUnknownSubscriber)
	}
	return all[0], nil
}

func subscribers(ctx context.Context, box *outbox.Box, name *string) ([]SubscriberStatus, error) {
	if box == nil {
		return nil, fmt.Errorf("strunk/events: subscribers: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sqlSubscribers), name)
	if err != nil {
		return nil, fmt.Errorf("strunk/events: subscribers: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanStatus)
	if err != nil {
		return nil, fmt.Errorf("strunk/events: subscribers: %w", err)
	}
	return all, nil
}

func scanStatus(row pgx.CollectableRow) (s SubscriberStatus, err error) {
	var lagMS int64
	err = row.Scan(&s.Name, &s.EntityType, &s.Cursor, &s.Head, &s.Earliest, &s.Positions, &s.Start, &s.Bootstrapping,
		&s.Paused, &s.NeedsRestart,
		&s.Owner, &s.RegisteredAt, &s.MovedAt, &lagMS, &s.Parked, &s.Dead, &s.BlockedAt, &s.Attempts, &s.LastError)
	s.Lag = time.Duration(lagMS) * time.Millisecond
	return s, err
}
