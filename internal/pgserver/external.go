package pgserver

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
)

// ownerLockClass is the upper half of the advisory lock by which the session of a run marks its databases as in use;
// the lower half is the run. It spells "strk".
const ownerLockClass = 0x7374726b

// external is the server of DATABASE_URL. Its databases are named after the run, and one session holds the run's
// advisory lock for as long as the process lives: pg_locks shows it from every database of the server.
type external struct {
	url, run, words string
	watchdog        *Watchdog

	mu    sync.Mutex // held while using owner
	owner *pgx.Conn
}

func openExternal(ctx context.Context, r request) (Backend, error) {
	if r.places.databaseURL == "" {
		return nil, errNotSet
	}
	e := &external{url: r.places.databaseURL, run: r.run}
	if err := e.open(ctx, r); err != nil {
		e.disown(ctx)
		return nil, err
	}
	return e, nil
}

func (e *external) open(ctx context.Context, r request) error {
	if err := e.ensureOwned(ctx); err != nil {
		return err
	}
	if err := e.check(ctx); err != nil {
		return err
	}
	if err := e.sweep(ctx, r); err != nil {
		return fmt.Errorf("look for databases that dead runs left: %w", err)
	}
	dog, err := watchDatabases(r, NamePrefix+e.run+"_")
	if err != nil {
		return err
	}
	e.watchdog = dog
	return nil
}

// ensureOwned holds the run's lock, on a new connection when the one before is lost.
func (e *external) ensureOwned(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owner != nil && e.owner.Ping(ctx) == nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, e.url)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		"SET idle_session_timeout = 0",
		"SELECT pg_advisory_lock_shared(" + strconv.FormatInt(ownerLock(e.run), 10) + ")",
	} {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return err
		}
	}
	e.owner = conn
	return nil
}

func (e *external) disown(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owner != nil {
		_ = e.owner.Close(context.WithoutCancel(ctx))
	}
}

func ownerLock(run string) int64 {
	id, err := strconv.ParseUint(run, 16, 32)
	if err != nil {
		panic(failed("bug: run %q: %w", run, err))
	}
	return ownerLockClass<<32 | int64(id)
}

// checkSQL asks what a role needs to know of itself: the server's version, the role, whether it may create databases.
const checkSQL = `
SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'), rolname,
rolcreatedb OR rolsuper
FROM pg_catalog.pg_roles WHERE rolname = current_user`

func (e *external) check(ctx context.Context) error {
	var (
		major         int
		version, role string
		mayCreate     bool
	)
	if err := e.owner.QueryRow(ctx, checkSQL).Scan(&major, &version, &role, &mayCreate); err != nil {
		return err
	}
	if major < MinVersion {
		return fmt.Errorf("the server is PostgreSQL %s: use %d or newer", version, MinVersion)
	}
	if !mayCreate {
		return fmt.Errorf("the role %s may not create databases, and each test needs its own: "+
			"as a superuser, run ALTER ROLE %s CREATEDB", role, quote(role))
	}
	e.words = "DATABASE_URL (PostgreSQL " + version + ")"
	return nil
}

var (
	databasePattern = regexp.MustCompile(`^` + NamePrefix + `([0-9a-f]{8})_[0-9a-f]+$`)

	// ownDatabasesSQL lists the databases of the current role.
	ownDatabasesSQL = `
SELECT datname FROM pg_catalog.pg_database
WHERE datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)`

	// liveRunsSQL lists the runs that hold their lock, from any database of the server.
	liveRunsSQL = `
SELECT DISTINCT lpad(to_hex(objid::bigint), 8, '0') FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint = $1 AND granted`
)

// sweep drops the databases of runs that have died. Databases are listed before locks: a run takes its lock before it
// creates its first one, so what is listed without a lock has no owner. DROP without FORCE spares one that is in use.
func (e *external) sweep(ctx context.Context, r request) error {
	names, err := e.list(ctx, ownDatabasesSQL)
	if err != nil {
		return err
	}
	runs, err := e.list(ctx, liveRunsSQL, int64(ownerLockClass))
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for _, run := range runs {
		live[run] = true
	}
	var admin admin
	defer admin.close()
	for _, name := range names {
		match := databasePattern.FindStringSubmatch(name)
		if match == nil || live[match[1]] {
			continue
		}
		_, err := e.owner.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name), pgx.QueryExecModeSimpleProtocol)
		r.cfg.Logger.Info("dropped the database of a dead run", "database", name, "error", err)
	}
	return nil
}

func (e *external) list(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := e.owner.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (e *external) DSN() string    { return e.url }
func (e *external) Source() string { return e.words }

// close drops the run's databases, then gives up the lock.
func (e *external) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	defer e.disown(ctx)
	if err := e.dropAll(ctx); err != nil {
		_ = e.watchdog.End()
		return failed("drop the databases of this run: %w", err)
	}
	return e.watchdog.Dismiss()
}

func (e *external) dropAll(ctx context.Context) error {
	if err := e.ensureOwned(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	names, err := e.list(ctx, ownDatabasesSQL)
	if err != nil {
		return err
	}
	var admin admin
	defer admin.close()
	for _, name := range names {
		match := databasePattern.FindStringSubmatch(name)
		if match == nil || match[1] != e.run {
			continue
		}
		if err := admin.drop(e.url, name); err != nil {
			return err
		}
	}
	return nil
}
