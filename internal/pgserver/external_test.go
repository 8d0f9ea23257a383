//go:build unix

package pgserver

import (
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// existingSQL makes a database of some user, with a name like ours but not ours.
var existingSQL = []string{
	"CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 1000) g",
	"CREATE INDEX ON orders (id)",
	"CREATE VIEW recent AS SELECT * FROM orders WHERE id > 900",
}

func TestExistingDataStaysUntouched(t *testing.T) {
	t.Parallel()
	host := startServer(t, Config{}, withoutURL())
	exec1(t, host.DSN(), "CREATE DATABASE strunk_test_shop")
	shop, err := WithDatabase(host.DSN(), "strunk_test_shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range existingSQL {
		exec1(t, shop, sql)
	}
	before := contents(t, shop)

	guest := startServer(t, Config{}, places{databaseURL: shop})
	if guest.DSN() != shop || guest.Throwaway() {
		t.Errorf("DSN is %s, Throwaway %v; want DATABASE_URL, which stays", guest.DSN(), guest.Throwaway())
	}
	dsn, drop, err := guest.NewDatabase(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, dsn, "CREATE TABLE orders ()")
	if _, _, err := guest.NewDatabase(t.Context(), ""); err != nil { // left for Close
		t.Fatal(err)
	}
	if err := drop(); err != nil {
		t.Error(err)
	}
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, contents(t, shop)); diff != "" {
		t.Errorf("the server is not as it was (-before +after):\n%s", diff)
	}
}

// contentsSQL lists what the server has and what the database has, with a digest of each row of the table.
const contentsSQL = `
SELECT 'database ' || datname || ' ' || datdba FROM pg_database
UNION ALL SELECT 'role ' || rolname FROM pg_roles
UNION ALL SELECT 'relation ' || oid || ' ' || relname || ' ' || relfilenode FROM pg_class
WHERE relnamespace <> 'pg_toast'::regnamespace
UNION ALL SELECT 'row ' || id || ' ' || text || ' ' || xmin || ' ' || ctid FROM orders
ORDER BY 1`

func contents(t *testing.T, dsn string) []string {
	t.Helper()
	rows, err := connect(t, dsn).Query(t.Context(), contentsSQL)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDatabasesOfAKilledProcessAreDropped(t *testing.T) {
	t.Parallel()
	host := needServer(t)
	cmd := childCommand(t, "wait", openDir(t), "DATABASE_URL="+host.DSN())
	name := databaseOf(t, readLine(t, cmd))
	if !exists(t, host, name) {
		t.Fatalf("database %s is not there", name)
	}
	kill(t, cmd, syscall.SIGKILL)
	eventually(t, func() string {
		if exists(t, host, name) {
			return "database " + name + " is still there"
		}
		return ""
	})
}

func TestNextStartDropsWhatNoWatchdogCould(t *testing.T) {
	t.Parallel()
	host := startServer(t, Config{}, withoutURL())
	env := []string{"DATABASE_URL=" + host.DSN(), noPsqlEnv + "=1"}
	dead, living := childCommand(t, "wait", openDir(t), env...), childCommand(t, "wait", openDir(t), env...)
	abandoned, used := databaseOf(t, readLine(t, dead)), databaseOf(t, readLine(t, living))
	kill(t, dead, syscall.SIGKILL)
	eventually(t, func() string {
		startServer(t, Config{}, places{databaseURL: host.DSN()})
		if exists(t, host, abandoned) {
			return "the abandoned database is still there"
		}
		return ""
	})
	if !exists(t, host, used) {
		t.Error("the database of a living process was dropped")
	}
	kill(t, living, syscall.SIGKILL)
}

// A test may give the server of its process to a program that has it for the server of DATABASE_URL.
func TestStartDropsNothingOfAThrowawayServer(t *testing.T) {
	t.Parallel()
	host := startServer(t, Config{}, withoutURL())
	dsn, _, err := host.NewDatabase(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, Config{}, places{databaseURL: host.DSN()})
	if !exists(t, host, databaseOf(t, dsn)) {
		t.Error("the database of a living process was dropped")
	}
}

func TestLostOwnerLockIsTakenAgain(t *testing.T) {
	t.Parallel()
	host := needServer(t)
	guest := startServer(t, Config{}, places{databaseURL: host.DSN()})
	e := guest.backend.(*external)
	exec1(t, host.DSN(), fmt.Sprintf("SELECT pg_terminate_backend(%d, 5000)", e.owner.PgConn().PID()))
	if _, _, err := guest.NewDatabase(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	sql := fmt.Sprintf("SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND objid = "+
		"x'%s'::bigint::oid", guest.run)
	if got := query[int](t, host.DSN(), sql); got != 1 {
		t.Errorf("%d locks of the run, want 1", got)
	}
}

func TestUnusableDatabaseURL(t *testing.T) {
	t.Parallel()
	host := needServer(t)
	exec1(t, host.DSN(), "DROP ROLE IF EXISTS clerk") // of a run before, with -count
	exec1(t, host.DSN(), "CREATE ROLE clerk LOGIN")
	clerk := strings.Replace(host.DSN(), "postgres@", "clerk@", 1)
	for _, row := range []struct{ name, url, want string }{
		{"a role without the right says what to grant", clerk, `ALTER ROLE "clerk" CREATEDB`},
		{"no server there: no other way is tried", "postgres:///x?host=" + url.QueryEscape(t.TempDir()),
			"DATABASE_URL"},
		{"not a connection string", "postgres://[::1", "DATABASE_URL"},
	} {
		p := withoutURL()
		p.databaseURL = row.url
		server, err := start(t.Context(), Config{}, p)
		if err == nil {
			_ = server.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) ||
			!strings.HasPrefix(err.Error(), "strunk/outboxtest: ") {
			t.Errorf("%s: error is %v, want it to say %s", row.name, err, row.want)
		}
	}
}

func databaseOf(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

func exists(t *testing.T, host *Server, database string) bool {
	t.Helper()
	return query[bool](t, host.DSN(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = '"+database+"')")
}
