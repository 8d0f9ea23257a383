package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

type SendEmail struct {
	To       string `json:"to"`
	Template string `json:"template"`
}

// A queue is declared once, for producers and consumers.
var Emails = queue.Define[SendEmail]("emails", queue.Config{MaxAttempts: 5})

// Enqueued in the transaction of the business data, a task exists if and only if that is committed.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := tx.Pgx().Exec(ctx, `UPDATE orders SET status = 'shipped' WHERE id = $1`, 42); err != nil {
			return err
		}
		_, err := Emails.Enqueue(ctx, tx, SendEmail{To: "a@example.com", Template: "shipped"})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	send := func(ctx context.Context, task queue.Task[SendEmail]) error {
		fmt.Println("sending", task.Payload.Template, "to", task.Payload.To)
		stop() // the end of this example; a service runs until it is told to end
		return nil
	}
	if err := box.Run(ctx, Emails.Worker(send, queue.Concurrency(8))); err != nil {
		log.Fatal(err)
	}
	// Output: sending shipped to a@example.com
}

func ExampleEnqueueAll() {
	ctx := context.Background()
	box := open(ctx)
	Bills := queue.Define[int]("bills", queue.Config{})

	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Emails.EnqueueBatch(ctx, tx, []SendEmail{{To: "a@example.com"}, {To: "b@example.com"}},
			queue.Priority(5))
		if err != nil {
			return err
		}
		done, err := queue.EnqueueAll(ctx, tx,
			Emails.Item(SendEmail{To: "c@example.com"}, queue.Delay(time.Hour), queue.DedupKey("welcome-42")),
			Bills.Item(1001, queue.MaxAttempts(3), queue.Timeout(time.Minute)),
			Emails.Item(SendEmail{To: "c@example.com"}, queue.DedupKey("welcome-42")))
		for _, d := range done {
			fmt.Println("duplicate:", d.Duplicate)
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// duplicate: false
	// duplicate: false
	// duplicate: true
}

func ExampleConfig() {
	Payments := queue.Define[int]("payments", queue.Config{
		MaxAttempts: 8,
		Timeout:     30 * time.Second,
		Retry: queue.RetryFunc(func(attempt int, err error) time.Duration {
			if errors.Is(err, errRateLimited) {
				return time.Minute
			}
			return queue.DefaultBackoff.Delay(attempt, err)
		}),
	})
	fmt.Println(Payments.Name())
	// Output: payments
}

var errRateLimited = errors.New("rate limited")

// The handler's writes, its follow-up task and the completion are one transaction.
func ExampleQueue_WorkerInTx() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Shipments := queue.Define[int]("shipments", queue.Config{})

	ship := func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int]) error {
		_, err := tx.Pgx().Exec(ctx, `UPDATE orders SET status = 'shipped' WHERE id = $1`, task.Payload)
		if err != nil {
			return err
		}
		_, err = Emails.Enqueue(ctx, tx, SendEmail{To: "a@example.com", Template: "shipped"})
		return err
	}
	tell := func(ctx context.Context, task queue.Task[SendEmail]) error {
		fmt.Println("telling", task.Payload.To)
		stop()
		return nil
	}
	enqueue(ctx, box, Shipments, 42)
	if err := box.Run(ctx, Shipments.WorkerInTx(ship), Emails.Worker(tell)); err != nil {
		log.Fatal(err)
	}
	// Output: telling a@example.com
}

// What a consumer has handled it does not handle again.
func ExampleInbox() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Payments := queue.Define[int]("payments", queue.Config{})
	enqueue(ctx, box, Payments, 1999)

	charge := func(ctx context.Context, task queue.Task[int]) error {
		fmt.Println("charging", task.Payload)
		stop()
		return nil
	}
	if err := box.Run(ctx, Payments.Worker(charge, queue.Inbox("payment-processor"))); err != nil {
		log.Fatal(err)
	}
	// Output: charging 1999
}

func ExampleDedup() {
	ctx := context.Background()
	box := open(ctx)
	Indexing := queue.Define[string]("indexing", queue.Config{})
	enqueue := func(payload string, opt queue.EnqueueOption) {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			done, err := Indexing.Enqueue(ctx, tx, payload, opt)
			fmt.Println(payload, "duplicate:", done.Duplicate, "replaced:", done.Replaced)
			return err
		})
		if err != nil {
			log.Fatal(err)
		}
	}

	enqueue("a", queue.DedupKey("order-1")) // until the task is done
	enqueue("b", queue.DedupKey("order-1"))
	enqueue("c", queue.Dedup("order-2", queue.WhileWaiting)) // one may wait while one runs
	enqueue("d", queue.Dedup("order-3", queue.ForPeriod(time.Hour)))
	enqueue("e", queue.Dedup("order-4", queue.ReplaceWaiting))
	enqueue("f", queue.Dedup("order-4", queue.ReplaceWaiting))
	enqueue("g", queue.Dedup("order-5", queue.DebounceUpTo(5*time.Second, time.Minute)))
	enqueue("h", queue.Dedup("order-5", queue.DebounceUpTo(5*time.Second, time.Minute)))
	// Output:
	// a duplicate: false replaced: false
	// b duplicate: true replaced: false
	// c duplicate: false replaced: false
	// d duplicate: false replaced: false
	// e duplicate: false replaced: false
	// f duplicate: true replaced: true
	// g duplicate: false replaced: false
	// h duplicate: true replaced: true
}

// The enqueuer waits for the result, which another process may make.
func ExampleDefineWithResult() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Thumbnails := queue.DefineWithResult[string, int]("thumbnails", queue.Config{})

	render := func(ctx context.Context, task queue.Task[string]) (int, error) {
		if err := queue.Report(ctx, 50, "half of it"); err != nil {
			return 0, err
		}
		return len(task.Payload), nil
	}
	running := background(box, ctx, Thumbnails.Worker(render))

	id := enqueue(ctx, box, Thumbnails.Queue, "cat.png")
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	size, err := Thumbnails.Wait(waiting, box, id)
	if err != nil {
		log.Fatal(err) // a *queue.DeadError if the task became a dead letter
	}
	progress, err := Thumbnails.Progress(ctx, box, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(size, progress.Percent, progress.Message)
	stop()
	running.Wait()
	// Output: 7 100 half of it
}

// open is what a program does at its start; here each example has tables of its own on one throwaway server.
func open(ctx context.Context) *outbox.Box { return openWith(ctx, outbox.Config{}) }

// openWith is open with a configuration of the box.
func openWith(ctx context.Context, config outbox.Config) *outbox.Box {
	server, err := exampleServer()
	if err != nil {
		log.Fatal(err)
	}
	schema := fmt.Sprintf("example_%d", examples.Add(1))
	cfg, err := pgxpool.ParseConfig(server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	testkit.AtEnd(pool.Close)
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{Schema: schema}); err != nil {
		log.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE orders (id integer PRIMARY KEY, status text)`); err != nil {
		log.Fatal(err)
	}
	config.Schema, config.Logger = schema, slog.New(slog.NewTextHandler(io.Discard, nil))
	box, err := outbox.Open(ctx, pool, config)
	if err != nil {
		log.Fatal(err)
	}
	return box
}

var (
	examples      atomic.Int64
	exampleServer = sync.OnceValues(func() (*outboxtest.Server,
		error) {
		return outboxtest.Start(context.Background())
	})
)

// enqueue adds one task in a transaction of its own.
func enqueue[T any](ctx context.Context, box *outbox.Box, q *queue.Queue[T], payload T) (id int64) {
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		done, err := q.Enqueue(ctx, tx, payload)
		id = done.ID
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	return id
}

// background runs bindings until ctx ends.
func background(box *outbox.Box, ctx context.Context, bindings ...outbox.Binding) *sync.WaitGroup {
	var running sync.WaitGroup
	running.Go(func() {
		if err := box.Run(ctx, bindings...); err != nil {
			log.Fatal(err)
		}
	})
	return &running
}
