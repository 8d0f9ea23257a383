package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// MigrateConfig configures migrations.
type MigrateConfig struct {
	// Schema is the PostgreSQL schema, made if it is missing; empty means DefaultSchema.
	Schema string
}

// Migrate brings the schema to the version of this library: every missing migration in order, each
// in a transaction of its own, and the functions whenever their text differs from what the database
// records. Processes that migrate at once wait for each other. A database that is up to date is
// left as it is, and so is a newer one that this library can work with; one that it cannot work
// with is [ErrDatabaseNewer].
//
// A migration waits for a lock no longer than a few seconds at a time, so that it does not stop
// others for longer behind an open report; it tries again until it succeeds or ctx ends. PUBLIC may
// execute none of strunk's functions: see [Grants].
func Migrate(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig) error {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return err
	}
	return m.up(ctx)
}

// MigrateDown takes the schema back to a version, 0 for none, and deletes what later versions keep:
// with version 0 that is all tasks and events. The PostgreSQL schema itself stays.
func MigrateDown(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig, version int) error {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return err
	}
	return m.down(ctx, version)
}

// LatestVersion is the version that this library needs.
func LatestVersion() int {
	all, err := migrations()
	if err != nil {
		return 0 // the files are part of the program: a test reads them
	}
	return len(all)
}

// Step is one migration that is to be done.
type Step struct {
	// From and To are versions next to each other; To is the lower where the step goes down. They
	// are equal where the functions alone are made anew.
	From, To int
	Name     string
	// SQL is what would be run.
	SQL string
}

// PlanMigrations says what Migrate (version LatestVersion) or MigrateDown would do, and changes
// nothing. Of a newer database that serves this library Migrate would do nothing.
func PlanMigrations(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig, version int) ([]Step, error) {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return nil, err
	}
	at, err := readVersion(ctx, pool, m.names)
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: plan: schema %q: reading its version: %w", m.names.schema, err)
	}
	if err := m.checkNoTables(ctx, pool, at.version); err != nil {
		return nil, fmt.Errorf("strunk/outbox: plan: schema %q: %w", m.names.schema, err)
	}
	if at.version > len(m.all) && version == len(m.all) && at.checkNotTooNew(len(m.all)) == nil {
		return nil, nil
	}
	if at.version > len(m.all) {
		return nil, fmt.Errorf("strunk/outbox: plan: schema %q: %w", m.names.schema, at.newerError(len(m.all)))
	}
	if err := m.checkTarget(version); err != nil {
		return nil, err
	}
	return m.steps(at, version), nil
}

// migrator migrates one schema.
type migrator struct {
	pool      *pgxpool.Pool
	names     names
	all       []migration
	functions functionText
}

func newMigrator(pool *pgxpool.Pool, cfg MigrateConfig) (*migrator, error) {
	if cfg.Schema == "" {
		cfg.Schema = DefaultSchema
	}
	if err := checkSchemaName(cfg.Schema); err != nil {
		return nil, err
	}
	all, err := migrations()
	if err != nil {
		return nil, err
	}
	text, err := functions()
	if err != nil {
		return nil, err
	}
	return &migrator{pool: pool, names: newNames(cfg.Schema), all: all, functions: text}, nil
}

func (m *migrator) checkTarget(version int) error {
	if version < 0 || version > len(m.all) {
		return fmt.Errorf("strunk/outbox: migrate: there is no version %d; this library knows 0 to %d", version,
			len(m.all))
	}
	return nil
}

// steps lists the way from where the database is to a version, up or down.
func (m *migrator) steps(at dbVersion, to int) (steps []Step) {
	for v := at.version; v < to; v++ {
		steps = append(steps, Step{From: v, To: v + 1, Name: m.all[v].name, SQL: m.upScript(m.all[v])})
	}
	for v := at.version; v > to; v-- {
		steps = append(steps, Step{From: v, To: v - 1, Name: m.all[v-1].name, SQL: m.names.expand(m.all[v-1].down)})
	}
	if at.version == to && to == len(m.all) && at.functions != m.functions.hash {
		steps = append(steps, Step{From: to, To: to, Name: "functions", SQL: m.functionScript()})
	}
	return steps
}

// upScript is what a step runs on its way up; the last one brings the functions.
func (m *migrator) upScript(step migration) string {
	if step.version < len(m.all) {
		return m.names.expand(step.up)
	}
	return m.names.expand(step.up) + "\n" + m.functionScript()
}

// dbVersion is what the database records of its newest migration; the zero value where there is none.
type dbVersion struct {
	version         int
	compatibleSince int
	functions       string    // the hash of their text
	now             time.Time // by the database's clock
}

// sqlVersion reads the version, and the database's clock.
const sqlVersion = `SELECT m.version, m.compatible_since, m.functions, pg_catalog.clock_timestamp()
	FROM {schema}.strunk_migrations m
	ORDER BY m.version DESC LIMIT 1`

// rower asks one question of a pool or of a transaction.
type rower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// readVersion returns the zero value where there is nothing.
func readVersion(ctx context.Context, db rower, n names) (at dbVersion, err error) {
	err = db.QueryRow(ctx, n.expand(sqlVersion)).Scan(&at.version, &at.compatibleSince, &at.functions, &at.now)
	state := core.SQLState(err)
	if errors.Is(err, pgx.ErrNoRows) || state == pgerrcode.UndefinedTable || state == pgerrcode.InvalidSchemaName {
		return dbVersion{}, nil
	}
	return at, err
}

// checkVersion returns why the library cannot work with the database, if it cannot. The answer sets the clock.
func (b *Box) checkVersion(ctx context.Context) error {
	n, sent := b.names, time.Now()
	at, err := readVersion(ctx, b.pool, n)
	if err != nil {
		return fmt.Errorf("strunk/outbox: open: schema %q: reading its version: %w", n.schema, err)
	}
	if !at.now.IsZero() {
		b.counters.clock.answered(at.now, sent, time.Now())
	}
	all, err := migrations()
	if err != nil {
		return err
	}
	if err := at.check(len(all)); err != nil {
		return fmt.Errorf("strunk/outbox: open: schema %q: %w", n.schema, err)
	}
	return nil
}

// check compares the database's version with the newest one that a library knows.
func (at dbVersion) check(newest int) error {
	const remedy = "run `strunk migrate` or outbox.Migrate first"
	switch {
	case at.version == 0:
		return fmt.Errorf("%w; %s", ErrNotMigrated, remedy)
	case at.version < newest:
		return fmt.Errorf("it is at version %d of %d: %w; %s", at.version, newest, ErrDatabaseOlder, remedy)
	}
	return at.checkNotTooNew(newest)
}

func (at dbVersion) checkNotTooNew(newest int) error {
	if at.version > newest && at.compatibleSince > newest {
		return at.newerError(newest)
	}
	return nil
}

func (at dbVersion) newerError(newest int) error {
	return fmt.Errorf("it is at version %d and serves libraries of version %d and later, this one is of version "+
		"%d: %w; "+
		"upgrade github.com/strunk-go/strunk", at.version, at.compatibleSince, newest, ErrDatabaseNewer)
}
