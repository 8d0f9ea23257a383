package schema_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schema"
)

// The variables tell a child process what to register, and where.
const (
	envDSN      = "STRUNK_TEST_REGISTER"
	envVersion  = "STRUNK_TEST_VERSION"
	envDocument = "STRUNK_TEST_DOCUMENT"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(envDSN); dsn != "" {
		fmt.Println(childRegisters(context.Background(), dsn))
		os.Exit(0)
	}
	// Go's default of a minute for each interesting input leaves no time to look for others.
	if err := flag.Set("test.fuzzminimizetime", "10x"); err != nil {
		panic(err)
	}
	testkit.Main(m)
}

func childRegisters(ctx context.Context, dsn string) string {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err.Error()
	}
	defer pool.Close()
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		return err.Error()
	}
	err = schema.NewRegistry(box).Register(ctx, "order", os.Getenv(envVersion), []byte(os.Getenv(envDocument)))
	switch {
	case err == nil:
		return "registered"
	case errors.Is(err, schema.ErrIncompatible), errors.Is(err, schema.ErrInvalidVersion):
		return "refused"
	}
	return err.Error()
}

// child starts a process that registers a version, and returns what waits for its answer.
func child(t *testing.T, pool *pgxpool.Pool, version, document string) (answer func() string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envDSN+"="+outboxtest.DSN(pool), envVersion+"="+version, envDocument+"="+document)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() string {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(out.String())
	}
}

// The order of the specification, as it is written there.
const (
	order10 = `{"properties": {"id": {"type": "integer"}, "status": {"type": "string"}, "total": {"type": "number"}},
		"required": ["id", "status", "total"]}`
	order11 = `{"properties": {"id": {"type": "integer"}, "status": {"type": "string"}, "total": {"type": "number"},
		"notes": {"type": "string"}}, "required": ["id", "status", "total"]}`
	order20 = `{"properties": {"id": {"type": "string"}, "status": {"type": "string"}}, "required": ["id", "status"]}`
)

func openBox(t testing.TB, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func newRegistry(t testing.TB, opts ...outboxtest.Option) (*schema.Registry, *outbox.Box) {
	t.Helper()
	box := openBox(t, outboxtest.New(t, opts...))
	return schema.NewRegistry(box), box
}

func register(t testing.TB, r *schema.Registry, subject, version, document string, options ...schema.RegisterOption) {
	t.Helper()
	if err := r.Register(t.Context(), subject, version, []byte(document), options...); err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error, texts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v; want %v", err, want)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}

func isInvalid(err error) bool {
	return errors.Is(err, events.ErrInvalid) || errors.Is(err, queue.ErrInvalid) ||
		errors.Is(err, schema.ErrInvalidPayload)
}
