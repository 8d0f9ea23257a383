package recipes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

// open returns a box on a fresh database with the application's tables.
func open(t *testing.T, tables string) *outbox.Box {
	t.Helper()
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func inTx(t *testing.T, box *outbox.Box, fn func(ctx context.Context, tx *outbox.OwnedTx) error) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error { return fn(t.Context(), tx) })
	if err != nil {
		t.Fatal(err)
	}
}

// drain runs the workers until no task is left to do.
func drain(t *testing.T, box *outbox.Box, workers ...outbox.Binding) {
	t.Helper()
	stop := testkit.Run(t, func(ctx context.Context) error { return box.Run(ctx, workers...) })
	testkit.Eventually(t, "all tasks have ended", func() bool {
		return answer[int](t, box, `SELECT count(*) FROM strunk_outbox
			WHERE kind = 'task' AND status IN ('scheduled', 'pending', 'claimed')`) == 0
	})
	stop()
}

// answer is the one value that a query returns.
func answer[T any](t *testing.T, box *outbox.Box, query string) (value T) {
	t.Helper()
	if err := box.Pool().QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestFanOutAndIn(t *testing.T) {
	t.Parallel()
	box := open(t, `CREATE TABLE reports (id bigint PRIMARY KEY, pages_left int); INSERT INTO reports VALUES (7);
		CREATE TABLE pages (report bigint, number int, text text, UNIQUE (report, number))`)
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := Reports.Enqueue(ctx, tx, 7)
		return err
	})
	var bound atomic.Int32
	bind := func(ctx context.Context, task queue.Task[int64]) error {
		if pages := answer[int](t, box, "SELECT count(*) FROM pages"); pages != 20 {
			t.Errorf("bound with %d pages", pages)
		}
		bound.Add(1)
		return nil
	}
	drain(t, box, Reports.WorkerInTx(split, queue.Concurrency(1)),
		Pages.WorkerInTx(render, queue.Concurrency(4)), Binding.Worker(bind))
	if bound.Load() != 1 {
		t.Errorf("bound %d times", bound.Load())
	}
}

func TestWebhookIsStoredOnce(t *testing.T) {
	t.Parallel()
	box := open(t, "")
	for range 3 {
		body := strings.NewReader(`{"paid": 42}`)
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hooks", body)
		request.Header.Set("webhook-id", "msg_1")
		got := httptest.NewRecorder()
		receive(box)(got, request)
		if got.Code != http.StatusNoContent {
			t.Errorf("answered %d: %s", got.Code, got.Body)
		}
	}
	tx := queuetest.RollBack(t, box)
	if stored := queuetest.Enqueued(t, tx, Hooks); len(stored) != 1 {
		t.Errorf("%d tasks of one message", len(stored))
	}
}

func TestTenantsShareFairly(t *testing.T) {
	t.Parallel()
	box := open(t, "")
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		for i := range 8 {
			if err := export(ctx, tx, "acme", fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return export(ctx, tx, "globex", "one")
	})
	var mu sync.Mutex
	running, most := map[string]int{}, 0
	count := func(key string, by int) {
		mu.Lock()
		defer mu.Unlock()
		running[key] += by
		most = max(most, running[key])
	}
	drain(t, box, Exports.Worker(func(ctx context.Context, task queue.Task[string]) error {
		count(task.CustomerKey, 1)
		defer count(task.CustomerKey, -1)
		return nil
	}))
	if most > 2 {
		t.Errorf("%d tasks of one tenant ran at once", most)
	}
}

func TestLongJobGoesOn(t *testing.T) {
	t.Parallel()
	box := open(t, `CREATE TABLE documents (id int PRIMARY KEY, indexed boolean DEFAULT false);
		INSERT INTO documents SELECT n FROM generate_series(1, 250) n`)
	var done queue.Enqueued
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) (err error) {
		done, err = Reindexing.Enqueue(ctx, tx, "all")
		return err
	})
	drain(t, box, Reindexing.Worker(reindex(box.Pool())))
	progress, err := Reindexing.Progress(t.Context(), box, done.ID)
	if err != nil || progress.Percent != 100 || progress.Message != "250 of 250" {
		t.Errorf("%+v, %v", progress, err)
	}
}

func TestErrorsAreTracked(t *testing.T) {
	t.Parallel()
	box := open(t, "")
	var mu sync.Mutex
	var told []string
	capture := func(err error, tags map[string]string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprint(err, " ", tags["queue"], tags["attempt"], tags["dead_letter"]))
	}
	Flaky := queue.Define[string]("flaky", queue.Config{MaxAttempts: 1,
		Middleware: []queue.Middleware{tracked(capture)}})
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := Flaky.EnqueueBatch(ctx, tx, []string{"fail", "discard"})
		return err
	})
	drain(t, box, Flaky.Worker(func(ctx context.Context, task queue.Task[string]) error {
		if task.Payload == "discard" {
			return queue.Discard("not needed")
		}
		return errors.New("no such user")
	}))
	testkit.Eventually(t, "the dead-letter hook was called", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 2
	})
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(told, "; "); got != "no such user flaky1; no such user flakytrue" {
		t.Errorf("told %q", got)
	}
}

func TestSagaGoesBack(t *testing.T) {
	t.Parallel()
	box := open(t, `CREATE TABLE stock (free int); INSERT INTO stock VALUES (10);
		CREATE TABLE orders (id bigint PRIMARY KEY, status text); INSERT INTO orders VALUES (1, 'new'), (2, 'new')`)
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := Reserve.EnqueueBatch(ctx, tx, []int64{1, 2})
		return err
	})
	pay := func(ctx context.Context, key string) error {
		if key == "order-2" {
			return errDeclined
		}
		return nil
	}
	drain(t, box, Reserve.WorkerInTx(reserve, queue.Concurrency(2)),
		Charge.WorkerInTx(charge(pay), queue.Concurrency(2)), Release.WorkerInTx(release, queue.Concurrency(2)))
	states := answer[string](t, box, `SELECT string_agg(status, ' ' ORDER BY id) FROM orders`)
	if free := answer[int](t, box, "SELECT free FROM stock"); free != 9 || states != "paid declined" {
		t.Errorf("%d free, the orders are %s", free, states)
	}
}

func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	box := open(t, "CREATE TABLE customers (email text PRIMARY KEY)")
	emails := make([]string, 2500)
	for i := range emails {
		emails[i] = fmt.Sprintf("%d@example.com", i)
	}
	for _, upTo := range []int{1200, 2500, 2500} { // broken off, gone on with, called once too often
		if err := importCustomers(t.Context(), box, emails[:upTo]); err != nil {
			t.Fatal(err)
		}
	}
	tasks := answer[int](t, box, "SELECT count(DISTINCT payload::text) FROM strunk_outbox")
	if all := answer[int](t, box, "SELECT count(*) FROM strunk_outbox"); tasks != 2500 || all != 2500 {
		t.Errorf("%d tasks of %d customers", all, tasks)
	}
}

func TestToldToWaitAllDo(t *testing.T) {
	t.Parallel()
	box := open(t, "")
	var asked atomic.Int32
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer provider.Close()
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := Lookups.EnqueueBatch(ctx, tx, []string{"/a", "/b"})
		return err
	})
	drain(t, box, Lookups.Worker(lookUp(provider.Client(), provider.URL), queue.Concurrency(1)))
	if attempts := answer[int](t, box, "SELECT max(attempts) FROM strunk_outbox"); asked.Load() != 3 || attempts != 1 {
		t.Errorf("asked %d times, %d attempts", asked.Load(), attempts)
	}
}

// A delayed task is made due by hand, as docs/testing.md shows it.
func TestReminderWithoutWaiting(t *testing.T) {
	t.Parallel()
	box := open(t, "")
	pool := box.Pool()
	Reminders := queue.Define[string]("reminders", queue.Config{})
	inTx(t, box, func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := Reminders.Enqueue(ctx, tx, "renew", queue.Delay(30*24*time.Hour))
		return err
	})
	tag, err := pool.Exec(t.Context(), `UPDATE strunk_tasks SET due_at = now() WHERE queue = 'reminders'`)
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatal(tag, err)
	}
	var reminded atomic.Bool
	drain(t, box, Reminders.Worker(func(ctx context.Context, task queue.Task[string]) error {
		reminded.Store(true)
		return nil
	}))
	if !reminded.Load() {
		t.Error("nobody was reminded")
	}
}

// poolFor is what docs/production.md shows of a pool's size.
func poolFor(t *testing.T, dsn string) *pgxpool.Pool {
	ctx, log := t.Context(), t
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		log.Fatal(err)
	}
	cfg.MaxConns = 20 + 5 + 3 // handlers in transactions, queries of plain handlers, the worker's own
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

func TestPoolHasRoom(t *testing.T) {
	t.Parallel()
	pool := poolFor(t, outboxtest.DSN(outboxtest.New(t)))
	defer pool.Close()
	if got := pool.Config().MaxConns; got != 28 {
		t.Errorf("%d connections", got)
	}
}
