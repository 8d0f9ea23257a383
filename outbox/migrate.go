package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// MigrateConfig configures migrations.
type MigrateConfig struct {
	// Schema is the PostgreSQL schema, made if it is missing; empty means DefaultSchema.
	Schema string
}

// Migrate brings the schema to the version of this library: every missing migration in order, each in a transaction of
// its own, but for those that build indexes without blocking writers, which go on where they were cut off. Processes that
// migrate at once wait for each other. A database that is up to date is left as it is; one that is newer is
// [ErrDatabaseNewer].
//
// A migration waits for a lock no longer than a few seconds at a time, so that it does not stop others for longer behind an open
// report; it tries again until it succeeds or ctx ends. PUBLIC may execute none of strunk's functions: see [Grants].
func Migrate(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig) error {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return err
	}
	return m.up(ctx)
}

// MigrateDown takes the schema back to a version, 0 for none, and deletes what later versions keep: with version 0 that is
// all tasks and events. The PostgreSQL schema itself stays.
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
	// From and To are versions next to each other; To is the lower where the step goes down.
	From, To int
	Name     string
	// SQL is what would be run.
	SQL string
}

// PlanMigrations says what Migrate (version LatestVersion) or MigrateDown would do, and changes nothing.
func PlanMigrations(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig, version int) ([]Step, error) {
	m, err := newMigrator(pool, cfg)
	if err != nil {
		return nil, err
	}
	at, err := readVersion(ctx, pool, m.names)
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: plan: schema %q: reading its version: %w", m.names.schema, err)
	}
	if at > len(m.all) {
		return nil, fmt.Errorf("strunk/outbox: plan: schema %q: %w", m.names.schema, newerError(at, len(m.all)))
	}
	if err := m.checkTarget(version); err != nil {
		return nil, err
	}
	return m.steps(at, version), nil
}

// migrator migrates one schema.
type migrator struct {
	pool  *pgxpool.Pool
	names names
	all   []migration
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
	return &migrator{pool: pool, names: newNames(cfg.Schema), all: all}, nil
}

func (m *migrator) checkTarget(version int) error {
	if version < 0 || version > len(m.all) {
		return fmt.Errorf("strunk/outbox: migrate: there is no version %d; this library knows 0 to %d", version, len(m.all))
	}
	return nil
}

// steps lists the way from one version to another, up or down.
func (m *migrator) steps(from, to int) (steps []Step) {
	for v := from; v < to; v++ {
		steps = append(steps, Step{From: v, To: v + 1, Name: m.all[v].name, SQL: m.names.expand(m.all[v].up)})
	}
	for v := from; v > to; v-- {
		steps = append(steps, Step{From: v, To: v - 1, Name: m.all[v-1].name, SQL: m.names.expand(m.all[v-1].down)})
	}
	return steps
}

const sqlVersion = `SELECT coalesce(max(version), 0) FROM {schema}.strunk_migrations`

// readVersion returns 0 where there is nothing.
func readVersion(ctx context.Context, pool *pgxpool.Pool, n names) (at int, err error) {
	err = pool.QueryRow(ctx, n.expand(sqlVersion)).Scan(&at)
	if state := core.SQLState(err); state == pgerrcode.UndefinedTable || state == pgerrcode.InvalidSchemaName {
		return 0, nil
	}
	return at, err
}

// checkVersion compares the database's version with the library's.
func checkVersion(ctx context.Context, pool *pgxpool.Pool, n names) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	at, err := readVersion(ctx, pool, n)
	switch {
	case err != nil:
		return fmt.Errorf("strunk/outbox: open: schema %q: reading its version: %w", n.schema, err)
	case at == 0:
		return fmt.Errorf("strunk/outbox: open: schema %q: %w; run `strunk migrate` or outbox.Migrate first", n.schema, ErrNotMigrated)
	case at < len(all):
		return fmt.Errorf("strunk/outbox: open: schema %q is at version %d of %d: %w; run `strunk migrate` or outbox.Migrate first",
			n.schema, at, len(all), ErrDatabaseOlder)
	case at > len(all):
		return fmt.Errorf("strunk/outbox: open: schema %q: %w", n.schema, newerError(at, len(all)))
	}
	return nil
}

func newerError(at, newest int) error {
	return fmt.Errorf("it is at version %d, this library knows up to %d: %w; upgrade github.com/strunk-go/strunk", at, newest, ErrDatabaseNewer)
}
