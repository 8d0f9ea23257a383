// Package eventstest helps to test code that publishes and handles events, on the user's own test database: one on
// which outbox.Migrate has run (outbox/outboxtest has a throwaway one). queuetest.RollBack has a transaction for tests
// that are to leave nothing behind.
package eventstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/runtest"
	"github.com/strunk-go/strunk/outbox"
)

// sqlPublished are the events of entity type $1, in the order in which they were published.
const sqlPublished = `SELECT o.id, o.seq, coalesce(o.position, 0), o.version, o.created_at, o.status, o.entity_id,
	coalesce(o.schema_version, ''), o.payload::text, o.metadata::text
FROM {schema}.strunk_outbox o WHERE o.kind = 'event' AND o.key = $1::text ORDER BY o.seq`

// Published returns the stream's events that the transaction sees, in the order in which they were published, those of
// the transaction itself among them. What Event says of Diff, Redelivered and Attempt is left out. A state that cannot
// be decoded fails the test.
func Published[T any](t testing.TB, tx outbox.Tx, stream *events.Stream[T]) []events.Event[T] {
	t.Helper()
	published, err := published(t.Context(), tx, stream)
	if err != nil {
		t.Fatalf("eventstest: events of %q: %v", stream.EntityType(), err)
	}
	return published
}

func published[T any](ctx context.Context, tx outbox.Tx, stream *events.Stream[T]) (all []events.Event[T], err error) {
	decoder := core.DecoderOf(stream.Decoding(func(e events.Event[T]) error {
		all = append(all, e)
		return nil
	}))
	if decoder.Err != nil {
		return nil, decoder.Err
	}
	inner := core.TxOf(tx)
	if err := inner.Validate(); err != nil {
		return nil, err
	}
	err = inner.Query(ctx, inner.Host().SQL(sqlPublished), []any{stream.EntityType()}, func(rows core.Rows) error {
		for rows.Next() {
			e := core.StoredPayload{Kind: "event", Key: stream.EntityType()}
			if err := rows.Scan(&e.ID, &e.Seq, &e.Position, &e.Version, &e.CreatedAt, &e.Status, &e.EntityID,
				&e.SchemaVersion, &e.Payload, &e.Metadata); err != nil {
				return err
			}
			if err := decoder.Decode(ctx, inner.Host(), e); err != nil {
				return fmt.Errorf("event %d: %w", e.ID, err)
			}
		}
		return rows.Err()
	})
	return all, err
}

// RequirePublished fails the test unless exactly one event of the stream has this state (compared as JSON), and returns
// it.
func RequirePublished[T any](t testing.TB, tx outbox.Tx, stream *events.Stream[T], state T) events.Event[T] {
	t.Helper()
	want := runtest.JSON(t, state)
	var found []events.Event[T]
	var others strings.Builder
	for _, e := range Published(t, tx, stream) {
		if got := runtest.JSON(t, e.State); got == want && !e.Deleted {
			found = append(found, e)
		} else {
			fmt.Fprintf(&others, "\n  version %d of %s: %s", e.Version, e.EntityID, shown(e, got))
		}
	}
	if len(found) != 1 {
		t.Fatalf("stream %q: %d events have the state %s; want 1. Others:%s", stream.EntityType(), len(found), want,
			others.String())
	}
	return found[0]
}

// RequireDeleted fails the test unless the last event of the entity says that it is gone.
func RequireDeleted[T any](t testing.TB, tx outbox.Tx, stream *events.Stream[T], entityID string) {
	t.Helper()
	last := "it has none"
	for _, e := range Published(t, tx, stream) {
		if e.EntityID == entityID {
			last = shown(e, runtest.JSON(t, e.State))
		}
	}
	if last != deleted {
		t.Fatalf("stream %q: the last event of %s: %s; want that it is gone", stream.EntityType(), entityID, last)
	}
}

// RequireNone fails the test if the transaction sees any event of the stream.
func RequireNone[T any](t testing.TB, tx outbox.Tx, stream *events.Stream[T]) {
	t.Helper()
	if all := Published(t, tx, stream); len(all) > 0 {
		t.Fatalf("stream %q: %d events; want none. The first, of %s: %s", stream.EntityType(), len(all),
			all[0].EntityID, shown(all[0], runtest.JSON(t, all[0].State)))
	}
}

const deleted = "it is deleted"

func shown[T any](e events.Event[T], state string) string {
	if e.Deleted {
		return deleted
	}
	return state
}

// CatchUpTimeout is how long CatchUp waits.
const CatchUpTimeout = 30 * time.Second

// sqlBehind names the subscribers of $1 that have not handled all that is committed, and why. A delivery that is due in
// more than a second is left.
const sqlBehind = `SELECT n.name || CASE
	WHEN s.name IS NULL THEN ' is not registered yet'
	WHEN s.bootstrapping THEN ' is given the snapshots'
	WHEN s.blocked_position IS NOT NULL THEN pg_catalog.format(' is blocked at position %s after %s attempts: %s',
		s.blocked_position, s.blocked_attempts, s.blocked_error)
	ELSE ' is behind' END
FROM pg_catalog.unnest($1::text[]) AS n(name)
LEFT JOIN LATERAL {schema}.strunk_subscriber_states(n.name, '', 1, 1) s ON true
WHERE s.name IS NULL OR s.bootstrapping OR s.waiting > 0
	OR EXISTS (SELECT FROM {schema}.strunk_outbox_events)
	OR EXISTS (SELECT FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = n.name
		AND (d.status <> 'scheduled' OR d.due_at < {schema}.strunk_now() + interval '1 second'))
ORDER BY 1`

// CatchUp runs the subscribers until each has handled all events that were committed, and the deliveries that are due
// within a second. It fails the test when that takes longer than CatchUpTimeout, and names those that are behind.
func CatchUp(t testing.TB, box *outbox.Box, subscribers ...outbox.Binding) {
	t.Helper()
	names, err := runtest.Names("subscriber", subscribers)
	if err != nil {
		t.Fatalf("eventstest.CatchUp: %v", err)
	}
	var behind []string
	err = runtest.Run(CatchUpTimeout, box, subscribers, func(ctx context.Context, host core.Host) (bool, error) {
		rows, err := host.Pool().Query(ctx, host.SQL(sqlBehind), names)
		if err != nil {
			return false, err
		}
		now, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err == nil {
			behind = now
		}
		return len(behind) == 0, err
	})
	if err != nil {
		t.Fatalf("eventstest.CatchUp: %s: %v", strings.Join(behind, "; "), err)
	}
}
