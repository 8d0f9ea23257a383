package outboxtest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// childEnv gives the test binary, as a child process, a database to look at.
const childEnv = "STRUNK_TEST_CHILD_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		child(dsn)
		return
	}
	testkit.Main(m)
}

func child(dsn string) {
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		os.Stdout.WriteString(err.Error())
		os.Exit(1)
	}
	var text string
	if err := conn.QueryRow(context.Background(), "SELECT text FROM public.notes").Scan(&text); err != nil {
		text = err.Error()
	}
	os.Stdout.WriteString(text)
}

func TestDatabasesAreFreshAndMigrated(t *testing.T) {
	t.Parallel()
	for range 3 {
		pool := outboxtest.New(t)
		if n := query[int](t, pool, "SELECT count(*)::int FROM public.strunk_outbox"); n != 0 {
			t.Errorf("%d rows in a fresh database", n)
		}
		exec1(t, pool, "CREATE TABLE public.mine ()") // fails in a database that is not fresh
	}
}

func TestEmptyHasNothingInIt(t *testing.T) {
	t.Parallel()
	n := query[int](t, outboxtest.Empty(t), "SELECT count(*)::int FROM pg_class WHERE relnamespace = "+
		"'public'::regnamespace")
	if n != 0 {
		t.Errorf("%d relations in an empty database", n)
	}
}

func TestUnqualifiedNamesFail(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	var refused *pgconn.PgError
	_, err := pool.Exec(t.Context(), "SELECT FROM strunk_outbox")
	if !errors.As(err, &refused) || refused.Code != pgerrcode.UndefinedTable {
		t.Errorf("an unqualified table: %v, want undefined_table", err)
	}
	open := outboxtest.New(t, outboxtest.SearchPath("public"), outboxtest.MaxConns(3))
	exec1(t, open, "SELECT FROM strunk_outbox")
	if pool.Config().MaxConns != outboxtest.DefaultMaxConns || open.Config().MaxConns != 3 {
		t.Errorf("MaxConns: %d, %d", pool.Config().MaxConns, open.Config().MaxConns)
	}
}

func TestDSNServesChildProcesses(t *testing.T) {
	t.Parallel()
	pool := outboxtest.Empty(t)
	exec1(t, pool, "CREATE TABLE public.notes AS SELECT 'hello' AS text")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childEnv+"="+outboxtest.DSN(pool))
	if out, err := cmd.Output(); err != nil || string(out) != "hello" {
		t.Errorf("child: %q, %v", out, err)
	}
}

func TestDatabaseIsDroppedAtTheEnd(t *testing.T) {
	t.Parallel()
	watcher := outboxtest.Empty(t)
	var name string
	t.Run("test", func(t *testing.T) {
		pool := outboxtest.New(t)
		name = query[string](t, pool, "SELECT current_database()::text")
		pool.Close() // a test may
	})
	names := query[[]string](t, watcher, "SELECT array_agg(datname::text) FROM pg_database")
	if slices.Contains(names, name) {
		t.Errorf("database %s is still there", name)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	server, err := outboxtest.Start(t.Context(), outboxtest.Durable())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE orders (); SELECT FROM public.orders"); err != nil {
		t.Error(err)
	}
	_ = conn.Close(t.Context())
	if server.Source() == "" {
		t.Error("no Source")
	}
	if err := errors.Join(server.Close(), server.Close()); err != nil {
		t.Error(err)
	}
}

func exec1(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, pool *pgxpool.Pool, sql string) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}
