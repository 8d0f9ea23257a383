package ops_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// exampleBox is what a program does at its start; here each example has tables of its own on one throwaway server.
func exampleBox(ctx context.Context) *outbox.Box {
	server, err := exampleServer()
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	testkit.AtEnd(pool.Close)
	schema := fmt.Sprintf("example_%d", examples.Add(1))
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{Schema: schema}); err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Schema: schema})
	if err != nil {
		log.Fatal(err)
	}
	return box
}

var (
	examples      atomic.Int64
	exampleServer = sync.OnceValues(func() (*outboxtest.Server, error) {
		return outboxtest.Start(context.Background())
	})
)

func Example() {
	ctx := context.Background()
	box := exampleBox(ctx)
	emails := queue.Define[string]("emails", queue.Config{})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := emails.EnqueueBatch(ctx, tx, []string{"a@example.com", "b@example.com"})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := show(ctx, box); err != nil {
		log.Fatal(err)
	}
	// Output:
	// emails: 2 pending, 0 dead, 0 workers
	// relay: warn
	// readyz: 200
	// without a token: 401
}

func show(ctx context.Context, box *outbox.Box) error {
	q, err := ops.QueueStats(ctx, box, "emails")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %v pending, %v dead, %d workers\n", q.Name, q.Pending, q.Dead, q.Workers)

	report, err := ops.Health(ctx, box, ops.Thresholds{})
	if err != nil {
		return err
	}
	fmt.Printf("relay: %s\n", report.Check(ops.CheckRelay).Status) // no process runs it

	handler, err := ops.Handler(box, ops.Config{
		Tokens: []ops.Token{
			{Name: "grafana", Secret: "of-at-least-16-bytes",
				Permissions: []ops.Permission{ops.PermissionRead}},
			{Name: "on-call", Secret: "another-of-16-bytes!",
				Permissions: []ops.Permission{ops.PermissionRead, ops.PermissionChange}},
		},
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", handler))
	for _, c := range []struct{ name, path string }{{"readyz", "/ops/readyz"}, {"without a token", "/ops/v1/queues"}} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, c.path, nil))
		fmt.Printf("%s: %d\n", c.name, w.Code)
	}
	return nil
}

func ExampleRates() {
	ctx := context.Background()
	box := exampleBox(ctx)
	if err := work(ctx, box); err != nil {
		log.Fatal(err)
	}
	if err := showRates(ctx, box); err != nil {
		log.Fatal(err)
	}
	// Output:
	// emails: 4 enqueued, 3 done, 25 % failed
}

// work has a worker send four mails, of which one cannot be sent.
func work(ctx context.Context, box *outbox.Box) error {
	emails := queue.Define[string]("emails", queue.Config{MaxAttempts: 1})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := emails.EnqueueBatch(ctx, tx, []string{"ann", "bob", "nobody", "eve"})
		return err
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var ended atomic.Int32
	return box.Run(ctx, emails.Worker(func(_ context.Context, task queue.Task[string]) error {
		if ended.Add(1) == 4 {
			stop() // Run writes what was counted before it returns
		}
		if task.Payload == "nobody" {
			return errors.New("there is no such address")
		}
		return nil
	}, queue.Concurrency(1)))
}

func showRates(ctx context.Context, box *outbox.Box) error {
	rates, err := ops.Rates(ctx, box, ops.RatesFilter{Queue: "emails", Window: 5 * time.Minute})
	if err != nil {
		return err
	}
	for _, q := range rates.Queues {
		fmt.Printf("%s: %d enqueued, %d done, %.0f %% failed\n", q.Queue, q.Total.Enqueued, q.Total.Done,
			100*q.Total.FailedShare)
	}
	return nil
}
