package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// Difference is something in the database that is not as the library's migrations make it.
type Difference struct {
	// Object names it, as in "index strunk_outbox_tasks strunk_outbox_tasks_due".
	Object string
	// Want is its definition as it should be; empty for what should not be there.
	Want string
	// Got is its definition as it is; empty for what is missing.
	Got string
}

// String says what differs, on one line.
func (d Difference) String() string {
	switch {
	case d.Got == "":
		return d.Object + " is missing"
	case d.Want == "":
		return d.Object + " is not of this library's making"
	case strings.HasPrefix(d.Object, "function "):
		return d.Object + " is different"
	}
	return fmt.Sprintf("%s is different: %s; want %s", d.Object, d.Got, d.Want)
}

// Check compares a schema with what the migrations make: tables, columns, indexes (an invalid one too), constraints,
// triggers, sequences, views, functions and who may execute them, and the partitions of today and tomorrow. It returns
// what differs, in the order of names.
//
// It runs the migrations in a schema of a random name within a transaction that it rolls back, so
// it must be run by a role that may create schemas. It locks nothing of the schema that it checks.
// Errors: [ErrNotMigrated], [ErrDatabaseOlder], [ErrDatabaseNewer].
func Check(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig) ([]Difference, error) {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return nil, err
	}
	at, err := readVersion(ctx, pool, m.names)
	if err == nil {
		err = at.check(len(m.all))
	}
	if err == nil && at.version > len(m.all) { // it can be worked with, but what it should look like is not known here
		err = at.newerError(len(m.all))
	}
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: check: schema %q: %w", m.names.schema, err)
	}
	differences, err := m.check(ctx)
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: check: schema %q: %w", m.names.schema, err)
	}
	return differences, nil
}

var errRollback = errors.New("rolled back on purpose")

func (m *migrator) check(ctx context.Context) (differences []Difference, err error) {
	err = pgx.BeginTxFunc(ctx, m.pool, core.PlainTx, func(tx pgx.Tx) error {
		got, err := readCatalogue(ctx, tx, m.names.schema)
		if err != nil {
			return err
		}
		missing, err := m.missingPartitions(ctx, tx)
		if err != nil {
			return err
		}
		want, err := m.expected(ctx, tx)
		if err != nil {
			return err
		}
		differences = append(compare(want, got), missing...)
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		return nil, err
	}
	return differences, nil
}

// expected runs the migrations in a schema of their own and reads what they make.
func (m *migrator) expected(ctx context.Context, tx pgx.Tx) (catalogue, error) {
	model := *m
	model.names = newNames(fmt.Sprintf("strunk_check_%x", rand.Uint64()))
	model.names.expand = strings.NewReplacer("{schema}", quote(model.names.schema), "{channel}",
		"'"+m.names.channel+"'").Replace
	if err := execAll(ctx, tx, model.beginning()); err != nil {
		return nil, err
	}
	for _, step := range m.all {
		if err := execAll(ctx, tx, model.names.expand(step.up)); err != nil {
			return nil, fmt.Errorf("the model of version %d: %w", step.version, err)
		}
	}
	if err := execAll(ctx, tx, model.functionScript()); err != nil {
		return nil, fmt.Errorf("the model of the functions: %w", err)
	}
	return readCatalogue(ctx, tx, model.names.schema)
}

// sqlMissingPartitions names the partitions that are not there: of delivered tasks those of today
// and tomorrow, of the feed those above the floor.
const sqlMissingPartitions = `SELECT d.name FROM (
	SELECT 'strunk_outbox_delivered_tasks_' || pg_catalog.to_char((pg_catalog.clock_timestamp() AT TIME ZONE
	'UTC')::date + n, 'YYYYMMDD') AS name
	FROM pg_catalog.generate_series(0, 1) n) d
WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = '{schema}.strunk_outbox_delivered_tasks'::pg_catalog.regclass AND NOT i.inhdetachpending
	AND c.relname = d.name)
UNION ALL SELECT p.name FROM {schema}.strunk_feed_partitions p
WHERE p.past > (SELECT max(f.floor) FROM {schema}.strunk_feed_floor f) + 1 AND NOT EXISTS (
	SELECT 1 FROM pg_catalog.pg_inherits i WHERE
	i.inhrelid = pg_catalog.to_regclass('{schema}.' || pg_catalog.quote_ident(p.name)) AND NOT i.inhdetachpending)`

func (m *migrator) missingPartitions(ctx context.Context, tx pgx.Tx) ([]Difference, error) {
	rows, err := tx.Query(ctx, m.names.expand(sqlMissingPartitions))
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	var missing []Difference
	for _, name := range names {
		missing = append(missing, Difference{Object: "partition " + name, Want: "a partition"})
	}
	return missing, err
}

// compare lists what differs between two catalogues.
func compare(want, got catalogue) (all []Difference) {
	for object, defs := range want {
		switch have := got[object]; {
		case have == nil:
			all = append(all, Difference{Object: object, Want: described(defs)})
		case !slices.Equal(defs, have):
			all = append(all, Difference{Object: object, Want: described(defs), Got: described(have)})
		}
	}
	for object, defs := range got {
		if want[object] == nil {
			all = append(all, Difference{Object: object, Got: described(defs)})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Object < all[j].Object })
	return all
}

// described is never empty.
func described(defs []string) string {
	text := strings.Join(defs, " and ")
	if text == "" {
		return "there"
	}
	return text
}
