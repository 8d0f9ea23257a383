package ops_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// measuredViews are all views, with what costs them most.
var measuredViews = []string{"./", "./?over=2d", "queues", "queues?sort=dead", "queue?name=queue-042",
	"queue?name=queue-042&over=2d", "tasks", "tasks?status=dead",
	"tasks?status=dead&queue=queue-007&error=nothing", "tasks?status=delivered", "task?id=60000500", "errors",
	"errors?since_seconds=2592000", "errors?group=failed+once", "jobs", "events", "subscriber?name=sub-07",
	"entity?type=type-1&id=1", "schedules", "processes", "contracts", "database", "audit", "search?q=queue-0",
	"search?q=60000500", "confirm?op=job_retry&status=dead&queue=queue-042",
	"confirm?op=replay_subscriber&subscriber=sub-07&from=0"}

// TestPageOnManyRows measures each view with nothing remembered, beside a table of STRUNK_SLOW_ROWS rows and a fleet
// that works: 2,090,000 rows are 1,000,000 delivered tasks in 300 queues and 100,000 dead letters. Run it as
// STRUNK_SLOW_ROWS=2090000 go test ./ops -run PageOnManyRows -v -timeout 60m.
func TestPageOnManyRows(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(slowRows))
	if err != nil {
		t.Skipf("slow: set %s=2090000", slowRows)
	}
	box, pool := open(t)
	load(t, pool, n)
	loadMore(t, pool)
	done := runFleet(t, pool)
	for _, path := range measuredViews { // connections of a service have planned what they ask
		serverTime(t, box, path)
	}
	began, before := time.Now(), done.Load()
	slow := map[string]bool{}
	for _, path := range measuredViews {
		var took []time.Duration
		for range 40 {
			took = append(took, serverTime(t, box, path))
		}
		slices.Sort(took)
		slow[path] = took[37] > 100*time.Millisecond
		t.Logf("%-60s p50 %4d ms, p95 %4d ms", path, took[19].Milliseconds(), took[37].Milliseconds())
	}
	t.Logf("beside %.0f tasks/s", float64(done.Load()-before)/time.Since(began).Seconds())
	for path, is := range slow {
		if is {
			t.Errorf("%s: the p95 is above 100 ms", path)
		}
	}
}

// serverTime is how long a handler that remembers nothing takes for a view.
func serverTime(t *testing.T, box *outbox.Box, path string) time.Duration {
	t.Helper()
	h, err := ops.Handler(box, ops.Config{Tokens: tokens(), Timeout: testkit.Soon})
	if err != nil {
		t.Fatal(err)
	}
	b := browse(t, h, changeToken)
	start := time.Now()
	if status, text, _ := b.send("GET", path, ""); status >= 400 {
		t.Fatalf("%s: %d %s", path, status, text)
	}
	return time.Since(start)
}

// loadMore adds 200 queues with a little of everything, and dead letters up to 100,000.
func loadMore(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO public.strunk_outbox_tasks (id, seq, created_at, status, kind, key, payload)
			SELECT i, i, now(), 'pending', 'task', 'queue-' || 100 + i % 200, '{"n":1}'
			FROM generate_series(90000001, 90010000) i`,
		`INSERT INTO public.strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status, kind, key,
			last_error, payload)
			SELECT i, i, now(), now(), 12, 'dead', 'task', 'queue-' || 100 + i % 200, 'failed', '{}'
			FROM generate_series(91000001, 91100000 - (SELECT count(*) FROM public.strunk_outbox_dead)) i`,
		`UPDATE public.strunk_outbox_delivered_tasks SET key = 'queue-' || 100 + id % 200 WHERE id % 3 > 0`,
		`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
			SELECT 1000 + i, 3600000, i, 10, 'queue-' || 100 + i, 'h' FROM generate_series(0, 199) i`,
		`INSERT INTO public.strunk_counters (minute, in_totals, kind, name, done)
			SELECT date_trunc('minute', now()) - m * interval '1 minute', m > 3, 'queue', 'queue-' || q, 7
			FROM generate_series(0, 119) m, generate_series(100, 299) q ORDER BY m DESC, q`,
		`SELECT public.strunk_add_to_sums(array_agg(c)) FROM public.strunk_counters c
			WHERE c.in_totals AND c.name >= 'queue-100'`,
		`INSERT INTO public.strunk_counter_sums (began_at, kind, span_s, name, done)
			SELECT date_trunc('hour', now()) - h * interval '1 hour', 'queue', 3600, 'queue-' || q, 420
			FROM generate_series(47, 3, -1) h, generate_series(100, 299) q`,
		`INSERT INTO public.strunk_snapshots (version, updated_at, deleted, entity_type, entity_id, state)
			VALUES (1, now(), false, 'type-1', '1', '{}')`,
		`UPDATE public.strunk_workers SET lease_ms = 3600000`, // none expires
		`SELECT pg_catalog.setval('public.strunk_outbox_id_seq', 100000000)`,
		`ALTER TABLE public.strunk_outbox_tasks RESET (autovacuum_enabled)`,
		`ALTER TABLE public.strunk_outbox_dead RESET (autovacuum_enabled)`,
		`ALTER TABLE public.strunk_outbox_cancelled RESET (autovacuum_enabled)`,
		`VACUUM ANALYZE`,
	} {
		exec(t, pool, sql)
	}
}

// fleetRate is how many tasks the fleet is given in a second.
const fleetRate = 500

// runFleet has 20 queues worked, into which as many tasks are put in a second as they can do; one in 50 fails once.
// It returns how many attempts were made.
func runFleet(t *testing.T, pool *pgxpool.Pool) *atomic.Int64 {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := &atomic.Int64{}
	var fleet []outbox.Binding
	var queues []*queue.Queue[map[string]int]
	for i := range 20 {
		q := queue.Define[map[string]int](fmt.Sprintf("fleet-%02d", i), queue.Config{})
		queues = append(queues, q)
		fleet = append(fleet, q.Worker(func(ctx context.Context, task queue.Task[map[string]int]) error {
			if done.Add(1)%50 == 0 {
				return errors.New("failed by the fleet")
			}
			core.Sleep(ctx, 10*time.Millisecond)
			return nil
		}))
	}
	testkit.Run(t, func(ctx context.Context) error { return box.Run(ctx, fleet...) })
	testkit.Run(t, func(ctx context.Context) error {
		for tick := time.NewTicker(time.Second / fleetRate * 25); ctx.Err() == nil; <-tick.C {
			err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
				_, err := queues[done.Load()%20].EnqueueBatch(ctx, tx, make([]map[string]int, 25))
				return err
			})
			if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "closed") {
				return err
			}
		}
		return nil
	})
	testkit.Eventually(t, "the fleet works", func() bool { return done.Load() > 1000 })
	return done
}
