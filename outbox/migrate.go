package outbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// MigrateConfig configures Migrate.
type MigrateConfig struct {
	// Schema is the PostgreSQL schema, made if it is missing; empty means DefaultSchema.
	Schema string
}

// migration is one numbered step.
type migration struct {
	version  int
	name     string
	up, down string
}

// Migrate brings the schema to the version of this library: every missing migration in order, each in a transaction of
// its own. Processes that migrate at once wait for each other. A database that is up to date is left as it is; one that
// is newer is [ErrDatabaseNewer].
func Migrate(ctx context.Context, pool *pgxpool.Pool, cfg MigrateConfig) error {
	if cfg.Schema == "" {
		cfg.Schema = DefaultSchema
	}
	if err := checkSchemaName(cfg.Schema); err != nil {
		return err
	}
	all, err := migrations()
	if err != nil {
		return err
	}
	n := newNames(cfg.Schema)
	if err := prepareSchema(ctx, pool, n); err != nil {
		return fmt.Errorf("strunk/outbox: migrate: schema %q: %w", cfg.Schema, err)
	}
	for _, m := range all {
		if err := applyMigration(ctx, pool, n, m, len(all)); err != nil {
			return fmt.Errorf("strunk/outbox: migrate: %04d %s: %w", m.version, m.name, err)
		}
	}
	return nil
}

// sqlMigrationsTable says what has been applied.
const sqlMigrationsTable = `CREATE TABLE IF NOT EXISTS {schema}.strunk_migrations (
	version    integer     PRIMARY KEY,
	name       text        NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`

// sqlLockMigrations makes processes that migrate at once wait for each other, until their transaction ends.
const sqlLockMigrations = `SELECT pg_advisory_xact_lock(hashtextextended('strunk_migrations:' || $1, 0))`

func inMigrationTx(ctx context.Context, pool *pgxpool.Pool, n names, fn func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, pool, core.PlainTx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockMigrations, n.schema); err != nil {
			return err
		}
		return fn(tx)
	})
}

func prepareSchema(ctx context.Context, pool *pgxpool.Pool, n names) error {
	return inMigrationTx(ctx, pool, n, func(tx pgx.Tx) error {
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)`, n.schema).Scan(&exists); err != nil {
			return err
		}
		if !exists { // IF NOT EXISTS would ask for the privilege even where there is nothing to make
			if _, err := tx.Exec(ctx, n.expand(`CREATE SCHEMA {schema}`)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, n.expand(sqlMigrationsTable))
		return err
	})
}

func applyMigration(ctx context.Context, pool *pgxpool.Pool, n names, m migration, newest int) error {
	return inMigrationTx(ctx, pool, n, func(tx pgx.Tx) error {
		var at int
		if err := tx.QueryRow(ctx, n.expand(sqlVersion)).Scan(&at); err != nil {
			return err
		}
		if at > newest {
			return newerError(at, newest)
		}
		if at >= m.version {
			return nil
		}
		if _, err := tx.Conn().PgConn().Exec(ctx, n.expand(m.up)).ReadAll(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, n.expand(`INSERT INTO {schema}.strunk_migrations (version, name) VALUES ($1, $2)`), m.version, m.name)
		return err
	})
}

const sqlVersion = `SELECT coalesce(max(version), 0) FROM {schema}.strunk_migrations`

// checkVersion compares the database's version with the library's.
func checkVersion(ctx context.Context, pool *pgxpool.Pool, n names) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	var at int
	err = pool.QueryRow(ctx, n.expand(sqlVersion)).Scan(&at)
	switch state := core.SQLState(err); {
	case state == pgerrcode.UndefinedTable || state == pgerrcode.InvalidSchemaName || (err == nil && at == 0):
		return fmt.Errorf("strunk/outbox: open: schema %q: %w; run `strunk migrate` or outbox.Migrate first", n.schema, ErrNotMigrated)
	case err != nil:
		return fmt.Errorf("strunk/outbox: open: schema %q: reading its version: %w", n.schema, err)
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

// migrations returns the embedded migrations in order, which is 1, 2, 3 without a gap.
func migrations() ([]migration, error) {
	ups, err := fs.Glob(migrationFiles, "migrations/*.up.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(ups)
	all := make([]migration, 0, len(ups))
	for i, path := range ups {
		m, err := readMigration(path)
		if err != nil {
			return nil, err
		}
		if m.version != i+1 {
			return nil, fmt.Errorf("strunk/outbox: internal: migration %s is not number %d", path, i+1)
		}
		all = append(all, m)
	}
	return all, nil
}

func readMigration(path string) (migration, error) {
	base := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".up.sql")
	number, name, _ := strings.Cut(base, "_")
	version, err := strconv.Atoi(number)
	if err != nil {
		return migration{}, fmt.Errorf("strunk/outbox: internal: migration %s has no number", path)
	}
	up, err := migrationFiles.ReadFile(path)
	if err != nil {
		return migration{}, err
	}
	down, err := migrationFiles.ReadFile(strings.TrimSuffix(path, ".up.sql") + ".down.sql")
	if err != nil {
		return migration{}, err
	}
	return migration{version: version, name: name, up: string(up), down: string(down)}, nil
}
