package schedule_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// envRunner tells a child process to run the scheduler on a database until it is killed.
const envRunner = "STRUNK_TEST_SCHEDULER"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(envRunner); dsn != "" {
		if err := runScheduler(context.Background(), dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testkit.Main(m)
}

func runScheduler(ctx context.Context, dsn string) error {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	box, err := outbox.Open(ctx, pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopReaper}})
	if err != nil {
		return err
	}
	return box.Run(ctx, schedule.Runner())
}

type report struct {
	Kind string `json:"kind"`
}

var reports = queue.Define[report]("reports", queue.Config{})

func openBox(t testing.TB, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// start runs the bindings until the function it returns is called, or the test ends.
func start(t testing.TB, box *outbox.Box, bindings ...outbox.Binding) (stop func()) {
	t.Helper()
	return testkit.Run(t, func(ctx context.Context) error { return box.Run(ctx, bindings...) })
}

// query reads one value.
func query[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (v T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func mustExec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func mustRegister(t testing.TB, box *outbox.Box, id, spec string, opts ...schedule.RegisterOption) schedule.Entry {
	t.Helper()
	e, err := schedule.Register(t.Context(), box, id, reports, report{Kind: id}, spec, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
