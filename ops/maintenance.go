package ops

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Server is the PostgreSQL server that the box is connected to.
type Server struct {
	// Version is as the server writes it, Major its first number.
	Version string
	Major   int
}

// DeadRows are the row versions of a table that wait for vacuum, and the rows that live.
type DeadRows struct {
	Table      string
	Live, Dead int64
}

const (
	// sqlServer reads the server's version.
	sqlServer = `SELECT pg_catalog.current_setting('server_version_num')::int / 10000,
	pg_catalog.current_setting('server_version')`
	// sqlDeadRows reads the table of schema $1 with the most dead rows, where vacuum does not keep up:
	// by PostgreSQL's statistics, more than 100,000 and more than live.
	sqlDeadRows = `SELECT relname, n_live_tup, n_dead_tup FROM pg_catalog.pg_stat_user_tables
WHERE schemaname = $1 AND relname LIKE 'strunk\_%' AND n_dead_tup > 100000 AND n_dead_tup > n_live_tup
ORDER BY n_dead_tup DESC LIMIT 1`
	// sqlInvalidIndexes reads the indexes of schema $1 that a CREATE INDEX CONCURRENTLY has left when it was cut off.
	sqlInvalidIndexes = `SELECT c.relname FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname LIKE 'strunk\_%' AND NOT (i.indisvalid AND i.indisready) ORDER BY c.relname`
)

// sqlInconsistencies reads what a restore, a failover or logical replication has left behind, as one text.
const sqlInconsistencies = `SELECT coalesce(string_agg(pg_catalog.format('%s: %s; %s', i.object, i.finding, i.remedy),
	'. '), '') FROM {schema}.strunk_inconsistencies() i`

// Inconsistencies says what a restore, a failover or logical replication has left behind, and what mends it;
// empty where nothing is.
func Inconsistencies(ctx context.Context, box *outbox.Box) (text string, err error) {
	return text, wrap("inconsistencies", ask(ctx, box, one(sqlInconsistencies, nil, &text)))
}

// ServerVersion returns the server's version.
func ServerVersion(ctx context.Context, box *outbox.Box) (s Server, err error) {
	return s, wrap("server version", ask(ctx, box, one(sqlServer, nil, &s.Major, &s.Version)))
}

// WorstDeadRows returns the table on which vacuum keeps up least; nil where it keeps up with all.
func WorstDeadRows(ctx context.Context, box *outbox.Box) (*DeadRows, error) {
	var found DeadRows
	err := ask(ctx, box, one(sqlDeadRows, inSchema(box), &found.Table, &found.Live, &found.Dead))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, wrap("dead rows", err)
	}
	return &found, nil
}

// InvalidIndexes returns the names of indexes that cost writes and serve nobody.
func InvalidIndexes(ctx context.Context, box *outbox.Box) (names []string, err error) {
	err = ask(ctx, box, many(&names, sqlInvalidIndexes, inSchema(box), func(rows pgx.Rows) (name string, err error) {
		return name, rows.Scan(&name)
	}))
	return names, wrap("invalid indexes", err)
}

// inSchema is the box's schema as the parameters of a question; ask refuses a nil box.
func inSchema(box *outbox.Box) []any {
	if box == nil {
		return []any{""}
	}
	return []any{box.Schema()}
}
