package events

import (
	"context"
	"fmt"

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
