package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// DefaultErrorsSince is how far back ErrorGroups looks where ErrorFilter.Since is zero.
const DefaultErrorsSince = 24 * time.Hour

// ErrorGroup is what failures have in common that differ in numbers, ids, addresses and quoted values alone.
type ErrorGroup struct {
	// Fingerprint is the error with a question mark for what differs, Example one of the errors.
	Fingerprint string `json:"fingerprint"`
	Example     string `json:"example"`
	// Failures counts the failed attempts since ErrorFilter.Since, those that were tried again included.
	Failures int64 `json:"failures"`
	// FirstAt is when the group was seen first, and LastAt when last. A group is forgotten 30 days after that.
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
	// LastHour and HourBefore are its trend: the failures of the last hour and of the one before.
	LastHour   int64 `json:"last_hour"`
	HourBefore int64 `json:"hour_before"`
	// Queues and Subscribers are those whose tasks and events failed with it.
	Queues      []string `json:"queues"`
	Subscribers []string `json:"subscribers"`
}

// ErrorFilter chooses error groups; the zero value is all of the last day.
type ErrorFilter struct {
	// Name is a queue or a subscriber; empty means any.
	Name string
	// Since is how far back failures count; zero means DefaultErrorsSince.
	Since time.Duration
	// New leaves out groups that had failed before Since.
	New bool
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

// sqlErrorGroups reads at most $4 groups of queue or subscriber $1 (null: any) that failed within $2
// microseconds; with $3 those alone that are new. It locks nothing.
const sqlErrorGroups = `SELECT g.fingerprint, g.example, g.failures, g.first_at, g.last_at, g.last_hour, g.hour_before,
	g.queues, g.subscribers
FROM {schema}.strunk_error_groups($1::text, $2::bigint * interval '1 microsecond', $3::boolean, $4::integer) g`

// ErrorGroups returns why attempts failed, the most frequent reason first. Failures are counted by the minute within
// seconds: up to a minute of failures before Since may be among them, and up to an hour where Since is more than 25
// hours. Errors: [ErrInvalid].
func ErrorGroups(ctx context.Context, box *outbox.Box, f ErrorFilter) (all []ErrorGroup, err error) {
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(f.Name)
	}
	if err == nil && f.Since < 0 {
		err = fmt.Errorf("ErrorFilter.Since: %v is negative: %w", f.Since, ErrInvalid)
	}
	orDefault(&f.Since, DefaultErrorsSince)
	if err == nil {
		err = ask(ctx, box, many(&all, sqlErrorGroups, []any{orNull(f.Name), f.Since.Microseconds(), f.New, n},
			scanErrorGroup))
	}
	return all, wrap("error groups", err)
}

func scanErrorGroup(rows pgx.Rows) (g ErrorGroup, err error) {
	return g, rows.Scan(&g.Fingerprint, &g.Example, &g.Failures, &g.FirstAt, &g.LastAt, &g.LastHour, &g.HourBefore,
		&g.Queues, &g.Subscribers)
}
