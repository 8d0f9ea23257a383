package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"strunk": func() { os.Exit(cli.Main()) }})
}

// TestScripts runs testdata/script: each in a database of its own, which DATABASE_URL names.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup:               func(env *testscript.Env) error { return setup(t, env) },
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"sql": runSQL},
	})
}

func setup(t *testing.T, env *testscript.Env) error {
	pool := outboxtest.Empty(t, outboxtest.SearchPath("public"))
	env.Setenv("DATABASE_URL", outboxtest.DSN(pool))
	env.Setenv("TZ", "UTC")
	env.Values["pool"] = pool
	return nil
}

// runSQL runs one statement as psql would: `sql 'UPDATE …'`.
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	pool := poolOf(ts)
	_, err := pool.Exec(context.Background(), args[0])
	if neg != (err != nil) {
		ts.Fatalf("sql: %v", fmt.Sprint(err))
	}
}

func poolOf(ts *testscript.TestScript) *pgxpool.Pool { return ts.Value("pool").(*pgxpool.Pool) }
