package cli_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
)

// screenBuffer is what a command writes, read while it writes on.
type screenBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *screenBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *screenBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// top and tail say that the database is away, go on when it is back, and end with exit code 0 when
// they are interrupted.
func TestTopAndTailOutliveARestart(t *testing.T) {
	t.Parallel()
	server := anyserver.Own(t, pgserver.Config{})
	migrateDatabase(t, server.DSN())
	ctx, interrupt := context.WithCancel(t.Context())
	var top, banners, tail, notes screenBuffer
	codes := make(chan int, 2)
	run := func(out, errs *screenBuffer, args ...string) {
		codes <- cli.Run(ctx, append([]string{"strunk", "--database-url", server.DSN()}, args...),
			cli.Streams{In: strings.NewReader(""), Out: out, Err: errs})
	}
	go run(&top, &banners, "top", "--every", "200ms")
	go run(&tail, &notes, "tail", "--every", "200ms")
	testkit.Eventually(t, "top shows a screen", func() bool { return strings.Contains(top.String(), "pending ") })
	testkit.Eventually(t, "tail prints tasks", func() bool {
		enqueueOne(t, server.DSN(), "before")
		return strings.Contains(tail.String(), "before")
	})
	if err := server.StopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	const away = "strunk: the database does not answer since "
	testkit.Eventually(t, "top says that the database is away",
		func() bool { return strings.Contains(banners.String(), away) })
	testkit.Eventually(t, "tail says that the database is away",
		func() bool { return strings.Contains(notes.String(), away) })
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	enqueueOne(t, server.DSN(), "after")
	testkit.Eventually(t, "top shows what came after", func() bool { return strings.Contains(top.String(), "after ") })
	testkit.Eventually(t, "tail prints what came after", func() bool {
		return strings.Contains(tail.String(), "after") && strings.Contains(notes.String(), "answers again")
	})
	interrupt()
	for range 2 {
		if code := <-codes; code != cli.ExitDone {
			t.Errorf("interrupted: exit code %d, want %d\n%s%s", code, cli.ExitDone, banners.String(), notes.String())
		}
	}
}

func enqueueOne(t *testing.T, dsn, queue string) {
	t.Helper()
	var out bytes.Buffer
	args := []string{"strunk", "--database-url", dsn, "enqueue", queue, "1"}
	if code := cli.Run(t.Context(), args, cli.Streams{Out: &out, Err: &out}); code != cli.ExitDone {
		t.Fatalf("enqueue: exit code %d: %s", code, out.String())
	}
}

func migrateDatabase(t *testing.T, dsn string) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
}
