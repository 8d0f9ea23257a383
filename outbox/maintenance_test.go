package outbox_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
)

// soon bounds every wait for something that must happen: no test waits this long unless it fails.
const soon = testkit.Soon

// logs collects what a box has to say; it is shown when the test fails.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func openBox(t testing.TB, pool *pgxpool.Pool, cfg outbox.Config) *outbox.Box {
	t.Helper()
	l := &logs{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.buf.String())
		}
	})
	cfg.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	box, err := outbox.Open(t.Context(), pool, cfg)
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
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func mustExec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
