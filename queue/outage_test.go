package queue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// ownServer starts a server that no other test uses, which the test may stop and start, and a migrated database in it.
func ownServer(t *testing.T, cfg pgserver.Config) (*pgserver.Server, string) {
	t.Helper()
	server := anyserver.Own(t, cfg)
	dsn, _, err := server.NewDatabase(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.Migrate(t.Context(), dial(t, dsn), outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
	return server, dsn
}

func TestOutageExpiresNoLease(t *testing.T) {
	t.Parallel()
	// Long against the pauses of a busy machine: whoever is away for a lease is rightly given up.
	const lease = 8 * time.Second
	// Durable: what a crash of the server forgets is not what this is about.
	server, dsn := ownServer(t, pgserver.Config{Durable: true})
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
	// Two processes, each of which watches the other. One finds its way back later than the other.
	proxy := faults.NewProxy(t, dsn)
	farDSN, err := proxy.DSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	b, far := bedOn(t, dial(t, dsn), outbox.Config{SyncClaims: true}),
		bedOn(t, dial(t, farDSN), outbox.Config{SyncClaims: true})
	for _, process := range []*bed{b, far} {
		process.run(q.Worker(handler, queue.VisibilityTimeout(lease), queue.Concurrency(1)))
	}
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

	// The last heartbeat of the far process is seen before the outage, so that a rescue which
	// counted the outage would find it unchanged for longer than a lease.
	proxy.Down()
	looked := func() {
		t.Helper()
		since := value[time.Time](b, `SELECT clock_timestamp()`)
		eventually(t, "the near process has looked at the heartbeats", func() (string, bool) {
			n := value[int](b, `SELECT count(*) FROM pg_stat_activity
				WHERE query LIKE 'SELECT id, heartbeat, lease_ms%' AND state = 'idle' AND query_start > $1`, since)
			return fmt.Sprint(n), n > 0
		})
	}
	looked()
	if err := server.StopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lease + 2*time.Second) // how long the server is away
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.pool.Reset() // the test's own connections are broken too
	looked()
	proxy.Up()
	back := value[int64](b, `SELECT max(heartbeat) FROM public.strunk_workers`)
	eventually(t, "heartbeats of more than a lease", func() (string, bool) {
		n := value[int64](b, `SELECT min(heartbeat) FROM public.strunk_workers`)
		return fmt.Sprint(n), n > back+7 // six are a lease
	})
	if after := workers(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers %v before the outage, %v after it; want the same", before, after)
	}
	close(finish)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 1 || len(rec.Attempts) != 0 {
			t.Errorf("task %d: attempt %d, history %+v; want the first attempt to end it", id, rec.Attempt,
				rec.Attempts)
		}
	}
	select {
	case task := <-began:
		t.Errorf("task %d was handed out again", task.ID)
	default:
	}
}
