package ops

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Forwarder is what carries the events of a subscriber, or the tasks of a queue, to another system.
type Forwarder struct {
	// Kind is "events" or "tasks"; Name that of the subscriber or of the queue.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Destination says where it carries them, for example "jetstream ORDERS".
	Destination string `json:"destination"`
	// Running says that a process owns the subscriber, or works the queue.
	Running bool `json:"running"`
	// Sent counts the messages that have arrived, repeats included; SentAt is when the last did.
	Sent   int64      `json:"sent"`
	SentAt *time.Time `json:"sent_at,omitempty"`
	// Waiting counts the events or tasks that have not been sent, and Lag is how long the first has waited.
	Waiting Count    `json:"waiting"`
	Lag     Duration `json:"lag_seconds"`
	// There counts the messages that the destination has and that nobody has taken from it, and
	// ThereLag is how old the first is; nil where the destination cannot say.
	There    *int64    `json:"waiting_there,omitempty"`
	ThereLag *Duration `json:"lag_there_seconds,omitempty"`
	// Deliveries counts the copies of refused events and of those that wait behind them.
	Deliveries Count `json:"deliveries"`
	// FailingFor is how long the destination has taken nothing; nil where it does. Error is the last failure.
	FailingFor *Duration `json:"failing_seconds,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// sqlForwarders reads the forwarders after the name $1, at most $2, counting to $3. It locks nothing.
const sqlForwarders = `SELECT f.kind, f.name, f.destination,
	coalesce(s.owner IS NOT NULL AND NOT s.owner_silent, q.workers > 0, false), f.sent, f.sent_at,
	coalesce(s.waiting, q.pending, 0), coalesce(s.waiting_precision, q.pending_precision, 'exact'),
	coalesce(extract(epoch FROM coalesce(s.waiting_for, q.waiting_for)) * 1000000, 0)::bigint,
	f.waiting, (extract(epoch FROM f.noted_at - f.waiting_since) * 1000000)::bigint,
	coalesce(s.deliveries, 0), coalesce(s.deliveries_precision, 'exact'),
	(extract(epoch FROM coalesce(s.counted_for, q.counted_for)) * 1000000)::bigint,
	(extract(epoch FROM {schema}.strunk_now() - f.failing_since) * 1000000)::bigint, coalesce(f.last_error, '')
FROM (SELECT * FROM {schema}.strunk_forwarders WHERE name > $1::text ORDER BY name, kind LIMIT $2::integer) f
LEFT JOIN LATERAL {schema}.strunk_subscriber_states(f.name, '', 1, $3::integer) s ON f.kind = 'events'
LEFT JOIN LATERAL {schema}.strunk_queue_states(ARRAY[f.name], $3::integer, false) q ON f.kind = 'tasks'
ORDER BY f.name, f.kind`

// Forwarders returns the forwarders that have ever run, in the order of their names, counting to ListCountCap.
func Forwarders(ctx context.Context, box *outbox.Box, page Page) (all []Forwarder, err error) {
	return paged(ctx, box, "forwarders", page, func(into *[]Forwarder, after string, limit int) question {
		return forwardersQuestion(into, after, limit, ListCountCap)
	})
}

func forwardersQuestion(into *[]Forwarder, after string, limit, countCap int) question {
	return many(into, sqlForwarders, []any{after, limit, countCap}, scanForwarder)
}

func scanForwarder(rows pgx.Rows) (f Forwarder, err error) {
	var lag int64
	var lagThere, failing, age *int64
	err = rows.Scan(&f.Kind, &f.Name, &f.Destination, &f.Running, &f.Sent, &f.SentAt, &f.Waiting.N,
		&f.Waiting.Precision, &lag, &f.There, &lagThere, &f.Deliveries.N, &f.Deliveries.Precision, &age,
		&failing, &f.Error)
	setAge(age, &f.Waiting, &f.Deliveries)
	f.Lag, f.ThereLag, f.FailingFor = micros(lag), microsOf(lagThere), microsOf(failing)
	return f, err
}

// microsOf is micros of what may be missing.
func microsOf(us *int64) *Duration {
	if us == nil {
		return nil
	}
	d := micros(*us)
	return &d
}
