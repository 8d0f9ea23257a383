package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Subscriber is the state of one subscriber of state events.
type Subscriber struct {
	Name       string `json:"name"`
	EntityType string `json:"entity_type"`
	// Start is where it began, RegisteredAt when.
	Start        events.Start `json:"start"`
	RegisteredAt time.Time    `json:"registered_at"`
	// Cursor is the position up to which everything is handled, parked, dead or passed over. Head and Earliest are the
	// last and the first position that are kept, of events of any type.
	Cursor   int64 `json:"cursor"`
	Head     int64 `json:"head"`
	Earliest int64 `json:"earliest"`
	// Waiting counts the events of its type after the cursor; LagSince is when the first of them
	// was published, and Lag how long ago that is.
	Waiting  Count      `json:"waiting"`
	LagSince *time.Time `json:"lag_since,omitempty"`
	Lag      Duration   `json:"lag_seconds"`
	// MovedAt is when the cursor last moved.
	MovedAt time.Time `json:"moved_at"`
	// Owner is the host and process id that has it, or empty; Silent says that the owner's lease is over.
	Owner  string `json:"owner,omitempty"`
	Silent bool   `json:"silent"`
	Paused bool   `json:"paused"`
	// NeedsRestart says that events which it had not passed were dropped: it stops until it is replayed or reset.
	NeedsRestart bool `json:"needs_restart"`
	// Bootstrapping says that it is still given the snapshots, or follows the feed without what they had.
	Bootstrapping bool `json:"bootstrapping"`
	// Deliveries counts the copies of failing events, and of those that wait behind them; Dead its dead letters.
	Deliveries Count `json:"deliveries"`
	Dead       Count `json:"dead"`
	// Blocked is the event that it cannot pass; nil where there is none.
	Blocked *Blocked `json:"blocked,omitempty"`
}

// Blocked is an event that fails and that its subscriber does not pass.
type Blocked struct {
	Position int64  `json:"position"`
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
}

// sqlSubscribers reads subscriber $1 (null: all), after the name $2, at most $3, counting to $4. It locks nothing.
const sqlSubscribers = `SELECT s.name, s.entity_type, s.start, s.registered_at, s.cursor, s.head, s.earliest, s.waiting,
	s.waiting_precision, s.waiting_since,
	coalesce(extract(epoch FROM s.waiting_for) * 1000000, 0)::bigint, s.moved_at, coalesce(s.owner, ''),
	s.owner_silent, s.paused,
	s.needs_restart, s.bootstrapping, s.deliveries, s.deliveries_precision, s.dead, s.dead_precision,
	(extract(epoch FROM s.counted_for) * 1000000)::bigint, s.blocked_position, s.blocked_attempts,
	coalesce(s.blocked_error, '')
FROM {schema}.strunk_subscriber_states($1::text, $2::text, $3::integer, $4::integer) s`

// SubscriberStats returns the state of one subscriber, counting to CountCap. Errors: [ErrNotFound].
func SubscriberStats(ctx context.Context, box *outbox.Box, name string) (s Subscriber, err error) {
	if err := core.CheckName(name); err != nil {
		return s, fmt.Errorf("strunk/ops: subscriber stats: the name %w: %w", err, ErrInvalid)
	}
	var found []Subscriber
	err = ask(ctx, box, many(&found, sqlSubscribers, []any{&name, "", 1, CountCap}, scanSubscriber))
	switch {
	case err != nil:
		return s, wrap("subscriber stats", err)
	case len(found) == 0:
		return s, fmt.Errorf("strunk/ops: subscriber stats: subscriber %q: %w", name, ErrNotFound)
	}
	return found[0], nil
}

// Subscribers returns the states of subscribers in the order of their names, counting to ListCountCap.
func Subscribers(ctx context.Context, box *outbox.Box, page Page) (all []Subscriber, err error) {
	return paged(ctx, box, "subscribers", page, func(into *[]Subscriber, after string, limit int) question {
		return subscribersQuestion(into, after, limit, ListCountCap)
	})
}

func subscribersQuestion(into *[]Subscriber, after string, limit, countCap int) question {
	return many(into, sqlSubscribers, []any{(*string)(nil), after, limit, countCap}, scanSubscriber)
}

func scanSubscriber(rows pgx.Rows) (s Subscriber, err error) {
	var lag int64
	var position, age *int64
	var attempts *int
	var blocked string
	err = rows.Scan(&s.Name, &s.EntityType, &s.Start, &s.RegisteredAt, &s.Cursor, &s.Head, &s.Earliest, &s.Waiting.N,
		&s.Waiting.Precision, &s.LagSince, &lag, &s.MovedAt, &s.Owner, &s.Silent, &s.Paused, &s.NeedsRestart,
		&s.Bootstrapping, &s.Deliveries.N, &s.Deliveries.Precision, &s.Dead.N, &s.Dead.Precision, &age, &position,
		&attempts, &blocked)
	s.Lag = micros(lag)
	setAge(age, &s.Waiting, &s.Deliveries, &s.Dead)
	if position != nil && attempts != nil {
		s.Blocked = &Blocked{Position: *position, Attempts: *attempts, Error: blocked}
	}
	return s, err
}
