package cli_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// asProgram makes a process of the test binary the program strunk.
const asProgram = "STRUNK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	core.Patience = testkit.Soon / ops.QueryTimeout
	cleanTerminal()
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main())
	}
	testscript.Main(testkit.LeakFree{M: m}, map[string]func(){"program": func() { os.Exit(cli.Main()) }})
}

// TestScripts runs testdata/script: each in a database of its own, which DATABASE_URL names.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup:         func(env *testscript.Env) error { return setup(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"strunk": runProgram, "steady": runSteady, "code": exitCode, "sql": runSQL, "psql": runPsql, "work": work,
			"seed": seed, "schedules": seedSchedule, "fail": failEvents, "die": makeDead,
			"screen": onScreen, "json": asJSON},
	})
}

func setup(t *testing.T, env *testscript.Env) error {
	pool := outboxtest.Empty(t, outboxtest.SearchPath("public"))
	env.Setenv("DATABASE_URL", outboxtest.DSN(pool))
	env.Setenv("TZ", "UTC")
	env.Values["pool"] = pool
	return nil
}

func boxOf(ts *testscript.TestScript) *outbox.Box {
	box, err := outbox.Open(context.Background(), poolOf(ts), outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	return box
}

type order struct{ ID string }

var (
	emails = queue.Define[string]("email-queue", queue.Config{})
	orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})
)

// seed makes what the specification's commands name: the dead letters 12345 and 12346, one pending
// task, and the subscriber search-indexer, which has handled three events.
func seed(ts *testscript.TestScript, _ bool, _ []string) {
	box, pool := boxOf(ts), poolOf(ts)
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Soon)
	defer cancel()
	_, err := pool.Exec(ctx, "SELECT setval('strunk_outbox_id_seq', 12344)")
	ts.Check(err)
	ts.Check(box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := emails.EnqueueBatch(ctx, tx, []string{"a", "b", "c"}); err != nil {
			return err
		}
		_, err := orders.PublishBatch(ctx, tx, []order{{"1"}, {"2"}, {"3"}})
		return err
	}))
	for _, id := range []string{"12345", "12346"} {
		makeDead(ts, false, []string{id, "for the test"})
	}
	handled := 0
	ts.Check(box.Run(ctx, orders.Subscriber("search-indexer", func(context.Context, events.Event[order]) error {
		if handled++; handled == 3 {
			cancel()
		}
		return nil
	}, events.From(events.FromBeginning), events.Concurrency(1))))
}

// makeDead makes a dead letter of a task that waits: die ID ERROR.
func makeDead(ts *testscript.TestScript, _ bool, args []string) {
	_, err := poolOf(ts).Exec(context.Background(), `UPDATE public.strunk_outbox SET status = 'dead',
		finished_at = now(), last_error = $2 WHERE id = $1::text::bigint AND status <> 'dead'`, args[0], args[1])
	ts.Check(err)
}

func seedSchedule(ts *testscript.TestScript, _ bool, _ []string) {
	reports := queue.Define[string]("reports", queue.Config{})
	_, err := schedule.Register(context.Background(), boxOf(ts), "daily-report", reports, "daily", "every 1d")
	ts.Check(err)
}

func poolOf(ts *testscript.TestScript) *pgxpool.Pool { return ts.Value("pool").(*pgxpool.Pool) }
