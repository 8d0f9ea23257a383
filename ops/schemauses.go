package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// SchemaUse says which version of a contract the newest events of the entity type of the subject's name carry. Tasks
// carry no version: a queue's Validator names it.
type SchemaUse struct {
	// Version is empty of events that were published without one.
	Version string `json:"version"`
	// Events is how many of the newest SchemaUses.Examined carry it, LastAt when the newest of them was published.
	Events int64     `json:"events"`
	LastAt time.Time `json:"last_at"`
}

// SchemaUses says who uses the contracts of a subject: what has its name.
type SchemaUses struct {
	Subject string `json:"subject"`
	// Examined is how many events were looked at, at most 1,000.
	Examined int64       `json:"examined"`
	Events   []SchemaUse `json:"events"`
	// Subscribers are those of the entity type, at most DefaultLimit.
	Subscribers []string `json:"subscribers"`
	// Workers are the releases of the programs that work the queue, with how many workers each has.
	Workers []ReleaseUse `json:"workers"`
}

// ReleaseUse is a release of a program and how many workers of it there are.
type ReleaseUse struct {
	Release string `json:"release"`
	Workers int64  `json:"workers"`
}

// examinedUses is how many events are looked at for the versions that they carry.
const examinedUses = 1_000

const (
	// sqlSchemaEvents counts the newest $2 events of type $1 by the version that they carry. It locks nothing.
	sqlSchemaEvents = `SELECT coalesce(e.schema_version, ''), count(*), max(e.published_at)
FROM {schema}.strunk_latest_events($1::text, 9223372036854775807, $2::integer) e GROUP BY 1 ORDER BY 3 DESC, 1`
	// sqlSchemaSubscribers reads the names of at most $2 subscribers of type $1. It locks nothing.
	sqlSchemaSubscribers = `SELECT s.name FROM {schema}.strunk_subscribers s
WHERE s.entity_type = $1::text OR $1::text = ANY (s.previous_types) ORDER BY s.name LIMIT $2::integer`
	// sqlSchemaWorkers counts the workers of queue $1 by their release, at most $2 releases. It locks nothing.
	sqlSchemaWorkers = `SELECT w.release, count(*) FROM {schema}.strunk_workers w
WHERE w.queue = $1::text AND NOT w.expired GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2::integer`
)

// ReadSchemaUses returns who uses the contracts of a subject: the entity type and the queue of its name.
// Errors: [ErrInvalid].
func ReadSchemaUses(ctx context.Context, box *outbox.Box, subject string) (u SchemaUses, err error) {
	if err := core.CheckName(subject); err != nil {
		return u, fmt.Errorf("strunk/ops: schema uses: the subject %w: %w", err, ErrInvalid)
	}
	err = ask(ctx, box,
		many(&u.Events, sqlSchemaEvents, []any{subject, examinedUses}, func(rows pgx.Rows) (e SchemaUse, err error) {
			return e, rows.Scan(&e.Version, &e.Events, &e.LastAt)
		}),
		many(&u.Subscribers, sqlSchemaSubscribers, []any{subject, DefaultLimit},
			func(rows pgx.Rows) (s string, err error) { return s, rows.Scan(&s) }),
		many(&u.Workers, sqlSchemaWorkers, []any{subject, DefaultLimit},
			func(rows pgx.Rows) (r ReleaseUse, err error) { return r, rows.Scan(&r.Release, &r.Workers) }))
	u.Subject = subject
	for _, e := range u.Events {
		u.Examined += e.Events
	}
	return u, wrap("schema uses", err)
}
