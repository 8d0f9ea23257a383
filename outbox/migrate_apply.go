package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// migrationPause is the wait between attempts to get a lock.
	migrationPause = 100 * time.Millisecond
	// migrationPatience is how long a migration waits for a table's lock before it lets those behind it pass.
	migrationPatience = 3 * time.Second
)

const (
	// sqlMigrationsTable says what has been applied. compatible_since is the oldest version whose
	// library works with the database at this version; functions identifies the text of the
	// functions, and is empty where a later version's are left.
	sqlMigrationsTable = `CREATE TABLE IF NOT EXISTS {schema}.strunk_migrations (
    version          integer     PRIMARY KEY,
    compatible_since integer     NOT NULL,
    applied_at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    name             text        NOT NULL,
    functions        text        NOT NULL DEFAULT ''
)`
	// sqlTryLock keeps migrations of a schema ($1) apart until the transaction ends. It does not
	// wait, for a statement that waits holds a snapshot, and an index that is being built
	// concurrently waits for all snapshots.
	sqlTryLock = `SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('strunk_migrations:'
		|| $1, 0))`
	// sqlApplied and sqlUnapplied keep the record of versions, sqlFunctionsApplied that of the
	// functions ($2 is the hash).
	sqlApplied          = `INSERT INTO {schema}.strunk_migrations (version, compatible_since, name) VALUES ($1, $2, $3)`
	sqlUnapplied        = `DELETE FROM {schema}.strunk_migrations WHERE version = $1`
	sqlFunctionsApplied = `UPDATE {schema}.strunk_migrations SET functions = $2 WHERE version = $1`
	// sqlLateBodies keeps PostgreSQL from checking a function's body before the functions that it calls are there.
	sqlLateBodies = `SET LOCAL check_function_bodies = off`
	// sqlNoPublic takes from PUBLIC what PostgreSQL gives it on each new function: those with the
	// rights of their owner are for roles that have been granted them. Functions of others in the
	// schema are not touched.
	sqlNoPublic = `DO $strunk$
DECLARE
    v_function regprocedure;
BEGIN
    FOR
        v_function IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = '{schema}'::regnamespace AND pg_catalog.starts_with(p.proname, 'strunk_')
            AND EXISTS (SELECT 1 FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f',
            p.proowner))) a
                WHERE a.grantee = 0)
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
    END LOOP;
END $strunk$`
)

// errUnrecorded says that strunk's tables stand in a schema without a record of migrations.
var errUnrecorded = errors.New("strunk's tables are there, and no record of the migrations that made them")

var errLocked = errors.New("another process is migrating")

// up applies what is missing.
func (m *migrator) up(ctx context.Context) error {
	if err := m.prepare(ctx); err != nil {
		return fmt.Errorf("strunk/outbox: migrate: schema %q: %w", m.names.schema, err)
	}
	for _, step := range m.all {
		if err := m.apply(ctx, step); err != nil {
			return fmt.Errorf("strunk/outbox: migrate: %04d %s: %w", step.version, step.name, err)
		}
	}
	if err := m.renewFunctions(ctx); err != nil {
		return fmt.Errorf("strunk/outbox: migrate: functions: %w", err)
	}
	return nil
}

// down reverts what is above a version, newest first.
func (m *migrator) down(ctx context.Context, version int) error {
	if err := m.checkTarget(version); err != nil {
		return err
	}
	found, err := readVersion(ctx, m.pool, m.names)
	if err != nil {
		return fmt.Errorf("strunk/outbox: migrate down: schema %q: %w", m.names.schema, err)
	}
	if found.version > len(m.all) {
		return fmt.Errorf("strunk/outbox: migrate down: schema %q: %w", m.names.schema, found.newerError(len(m.all)))
	}
	for at := found.version; at > version; at-- {
		step := m.all[at-1]
		if err := m.revert(ctx, step); err != nil {
			return fmt.Errorf("strunk/outbox: migrate down: %04d %s: %w", step.version, step.name, err)
		}
	}
	return nil
}

// inTx runs fn in a transaction that no other migration of the schema runs beside, and again while
// locks are not to be had.
func (m *migrator) inTx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return m.untilLocked(ctx, func() error {
		return pgx.BeginTxFunc(ctx, m.pool, core.PlainTx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL
				lock_timeout = %d`, migrationPatience.Milliseconds())); err != nil {
				return err
			}
			var locked bool
			if err := tx.QueryRow(ctx, sqlTryLock, m.names.schema).Scan(&locked); err != nil {
				return err
			}
			if !locked {
				return errLocked
			}
			return fn(tx)
		})
	})
}

func (m *migrator) untilLocked(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, errLocked) && core.SQLState(err) != pgerrcode.LockNotAvailable && !core.IsRetryable(err) {
			return err
		}
		core.Sleep(ctx, migrationPause)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// prepare makes the schema and the record of versions. One that is there is not touched: that would ask for privileges
// where there is nothing to make.
func (m *migrator) prepare(ctx context.Context) error {
	return m.inTx(ctx, func(tx pgx.Tx) error {
		for _, object := range []struct{ there, make string }{
			{`SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)`, `CREATE SCHEMA {schema}`},
			{`SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
				ON n.oid = c.relnamespace
				WHERE n.nspname = $1 AND c.relname = 'strunk_migrations')`, sqlMigrationsTable},
		} {
			var there bool
			if err := tx.QueryRow(ctx, object.there, m.names.schema).Scan(&there); err != nil {
				return err
			}
			if there {
				continue
			}
			if _, err := tx.Exec(ctx, m.names.expand(object.make)); err != nil {
				return err
			}
		}
		return nil
	})
}

// version reads the version within a migration's transaction. A newer one that this library can work with is no error.
func (m *migrator) version(ctx context.Context, tx pgx.Tx) (int, error) {
	at, err := readVersion(ctx, tx, m.names)
	if err == nil {
		err = at.checkNotTooNew(len(m.all))
	}
	return at.version, err
}

// apply does one step. The functions come with the last one: no database is at a version without
// that version's functions.
func (m *migrator) apply(ctx context.Context, step migration) error {
	return m.inTx(ctx, func(tx pgx.Tx) error {
		at, err := m.version(ctx, tx)
		if err != nil || at >= step.version {
			return err
		}
		if err := m.checkNoTables(ctx, tx, at); err != nil {
			return err
		}
		if err := execAll(ctx, tx, m.names.expand(step.up)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, m.names.expand(sqlApplied), step.version, step.compatibleSince, step.name)
		if err != nil || step.version < len(m.all) {
			return err
		}
		return m.applyFunctions(ctx, tx)
	})
}

// sqlHasTables tells whether strunk's table stands in schema $1.
const sqlHasTables = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
	ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'strunk_outbox')`

// checkNoTables explains tables that stand in a schema of which no migration is recorded.
func (m *migrator) checkNoTables(ctx context.Context, db rower, at int) error {
	if at > 0 {
		return nil
	}
	var there bool
	if err := db.QueryRow(ctx, sqlHasTables, m.names.schema).Scan(&there); err != nil || !there {
		return err
	}
	newest := m.all[len(m.all)-1]
	return fmt.Errorf("%w: a dump was restored without its data, or strunk_migrations was emptied. Restore the dump "+
		"as a whole; or, where the tables are those of version %d, record it (INSERT INTO %s.strunk_migrations "+
		"(version, compatible_since, name) VALUES (%[2]d, %[4]d, '%[5]s')), migrate again and look at what `strunk "+
		"migrate --check` finds", errUnrecorded, newest.version, quote(m.names.schema), newest.compatibleSince,
		newest.name)
}

// renewFunctions applies the functions where those in the database are of another text, and of no later version.
func (m *migrator) renewFunctions(ctx context.Context) error {
	return m.inTx(ctx, func(tx pgx.Tx) error {
		at, err := readVersion(ctx, tx, m.names)
		if err != nil || at.version != len(m.all) || at.functions == m.functions.hash {
			return err
		}
		return m.applyFunctions(ctx, tx)
	})
}

// applyFunctions makes all functions anew, records which they are, and leaves PUBLIC nothing of them.
func (m *migrator) applyFunctions(ctx context.Context, tx pgx.Tx) error {
	if err := execAll(ctx, tx, m.functionScript()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, m.names.expand(sqlFunctionsApplied), len(m.all), m.functions.hash)
	return err
}

// functionScript makes the functions within a transaction.
func (m *migrator) functionScript() string {
	return m.names.expand(sqlLateBodies + ";\n" + m.functions.text + sqlNoPublic + ";\n")
}

func (m *migrator) revert(ctx context.Context, step migration) error {
	return m.inTx(ctx, func(tx pgx.Tx) error {
		at, err := m.version(ctx, tx)
		if err != nil || at < step.version {
			return err // another process was quicker
		}
		if err := execAll(ctx, tx, m.names.expand(step.down)); err != nil {
			return err
		}
		return m.unrecord(ctx, tx, step)
	})
}

// unrecord takes a step from the record; the record goes with the first step. The functions of the later version stay.
func (m *migrator) unrecord(ctx context.Context, tx pgx.Tx, step migration) error {
	if step.version == 1 {
		_, err := tx.Exec(ctx, m.names.expand(`DROP TABLE {schema}.strunk_migrations`))
		return err
	}
	if _, err := tx.Exec(ctx, m.names.expand(sqlUnapplied), step.version); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, m.names.expand(sqlFunctionsApplied), step.version-1, "")
	return err
}

// execAll runs a script within a transaction.
func execAll(ctx context.Context, tx pgx.Tx, script string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}
