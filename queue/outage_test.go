package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// ownServer starts a server that the test may stop and start, and a migrated database in it.
func ownServer(t *testing.T) (*pgserver.Server, string) {
	t.Helper()
	var tried []error
	for _, way := range []string{"installed", "download"} {
		// Durable: what a crash of the server forgets is not what this is about.
		server, err := pgserver.Start(t.Context(), pgserver.Config{Only: way, Durable: true})
		if err != nil {
			tried = append(tried, err)
			continue
		}
		t.Cleanup(func() { _ = server.Close() })
		dsn, _, err := server.NewDatabase(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := outbox.Migrate(t.Context(), dial(t, dsn), outbox.MigrateConfig{}); err != nil {
			t.Fatal(err)
		}
		return server, dsn
	}
	t.Fatalf("this test needs a server of its own to stop: %v", errors.Join(tried...))
	return nil, ""
}

func TestOutageCondemnsNoWorker(t *testing.T) {
	t.Parallel()
	const lease = 2 * time.Second
	server, dsn := ownServer(t)
	q := queue.Define[note]("outage", queue.Config{Retry: atOnce})
	began, finish := make(chan queue.Task[note], 10), make(chan struct{})
	handler := func(ctx context.Context, task queue.Task[note]) error {
		began <- task
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// Two processes, each of which watches the other.
	var beds []*bed
	for range 2 {
		b := bedOn(t, dial(t, dsn), outbox.Config{SyncClaims: true})
		beds = append(beds, b)
		b.run(q.Worker(handler, queue.VisibilityTimeout(lease), queue.Concurrency(1)))
	}
	b := beds[0]
	ids := putMany(b, q, 2)
	for range ids {
		receive(t, "both workers are busy", began)
	}
	workers := func() []int64 {
		rows, _ := b.pool.Query(t.Context(), `SELECT id FROM public.strunk_workers ORDER BY id`)
		all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := workers()

	if err := server.StopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * lease) // how long the server is away
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.pool.Reset() // the test's own connections are broken too
	beats := func() string {
		rows, _ := b.pool.Query(t.Context(), `SELECT (SELECT sum(beat) FROM public.strunk_workers)::text`)
		s, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// Long enough for a rescue that counted the outage, and for one that counts from the return.
	settled := time.Now().Add(2 * lease)
	eventually(t, "time for a rescue to act", func() (string, bool) { return beats(), time.Now().After(settled) })
	if after := workers(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers %v before the outage, %v after it; want the same", before, after)
	}
	close(finish)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 1 || len(rec.Attempts) != 0 {
			t.Errorf("task %d: attempt %d, history %+v; want the first attempt to end it", id, rec.Attempt, rec.Attempts)
		}
	}
	select {
	case task := <-began:
		t.Errorf("task %d was handed out again", task.ID)
	default:
	}
}
