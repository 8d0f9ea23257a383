package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// shared is one box for the examples of options, each of which has a queue of its own.
var shared = sync.OnceValue(func() *outbox.Box { return open(context.Background()) })

// enqueued adds one task with options and returns it as the table has it.
func enqueued[T any](ctx context.Context, q *queue.Queue[T], payload T,
	options ...queue.EnqueueOption) queue.Record[T] {
	var done queue.Enqueued
	err := shared().InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
		done, err = q.Enqueue(ctx, tx, payload, options...)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	record, err := q.Get(ctx, shared(), done.ID)
	if err != nil {
		log.Fatal(err)
	}
	return record
}

func ExampleDelay() {
	Reminders := queue.Define[string]("reminders", queue.Config{})
	task := enqueued(context.Background(), Reminders, "your trial ends", queue.Delay(48*time.Hour))
	fmt.Println(task.Status, task.DueAt.Sub(task.CreatedAt).Round(time.Hour))
	// Output: scheduled 48h0m0s
}

func ExampleDueAt() {
	Newsletters := queue.Define[string]("newsletters", queue.Config{})
	morning := time.Date(2100, 1, 1, 9, 0, 0, 0, time.UTC)
	task := enqueued(context.Background(), Newsletters, "happy new year", queue.DueAt(morning))
	fmt.Println(task.Status, task.DueAt.UTC().Format(time.DateTime))
	// Output: scheduled 2100-01-01 09:00:00
}

// Of what waits, the higher priority starts first.
func ExamplePriority() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	Alerts := queue.Define[string]("alerts", queue.Config{})
	enqueued(ctx, Alerts, "disk at 80 %")
	enqueued(ctx, Alerts, "disk is full", queue.Priority(queue.MaxPriority))

	show := func(ctx context.Context, task queue.Task[string]) error {
		fmt.Println(task.Payload)
		if task.Priority == 0 {
			stop()
		}
		return nil
	}
	if err := shared().Run(ctx, Alerts.Worker(show, queue.Concurrency(1))); err != nil {
		log.Fatal(err)
	}
	// Output:
	// disk is full
	// disk at 80 %
}

func ExampleMetadata() {
	Exports := queue.Define[int]("exports", queue.Config{})
	task := enqueued(context.Background(), Exports, 42, queue.Metadata(map[string]string{"tenant": "acme"}))
	fmt.Println(task.Metadata["tenant"])
	// Output: acme
}

// CustomerKey says whom a task is for: limits and order hold for each key.
func ExampleCustomerKey() {
	Invoices := queue.Define[int]("invoices", queue.Config{})
	task := enqueued(context.Background(), Invoices, 1001, queue.CustomerKey("acme"))
	fmt.Println(task.CustomerKey)
	// Output: acme
}

// A task may override what its queue says; a worker may override the time for an attempt.
func ExampleMaxAttempts() {
	Transfers := queue.Define[int]("transfers", queue.Config{MaxAttempts: 20})
	task := enqueued(context.Background(), Transfers, 42, queue.MaxAttempts(3), queue.Timeout(time.Minute))
	fmt.Println(task.MaxAttempts)
	// Output: 3
}

// A policy decides how long to wait before the next attempt.
func ExampleRetry() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	Webhooks := queue.Define[string]("webhooks", queue.Config{})
	enqueued(ctx, Webhooks, "https://example.com/hook")

	call := func(ctx context.Context, task queue.Task[string]) error {
		fmt.Println("attempt", task.Attempt)
		if task.Attempt < 3 {
			return errors.New("503 Service Unavailable")
		}
		stop()
		return nil
	}
	quick := queue.Backoff{First: 10 * time.Millisecond, Max: time.Second}
	if err := shared().Run(ctx, Webhooks.Worker(call, queue.Retry(quick))); err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
}

// A panic fails its attempt, as an error does; the history has the stack.
func ExampleRecovery() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	Parsers := queue.Define[string]("parsers", queue.Config{MaxAttempts: 1, Middleware: []queue.Middleware{{
		Dead: func(ctx context.Context, letter queue.DeadLetter) {
			fmt.Println(letter.LastError)
			stop()
		},
	}, queue.Recovery()}})
	enqueued(ctx, Parsers, "{")

	parse := func(context.Context, queue.Task[string]) error { panic("unexpected end") }
	if err := shared().Run(ctx, Parsers.Worker(parse)); err != nil {
		log.Fatal(err)
	}
	// Output: the handler panicked: unexpected end
}

// How long a worker may be out of touch before its tasks are given to others, how often it polls where no wake-up
// comes, and the isolation of its handlers' transactions.
func ExampleVisibilityTimeout() {
	Imports := queue.Define[int]("imports", queue.Config{})
	load := func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int]) error { return nil }

	worker := Imports.WorkerInTx(load,
		queue.VisibilityTimeout(time.Minute),
		queue.PollInterval(5*time.Second),
		queue.Isolation(pgx.RepeatableRead))
	_ = worker // for box.Run
}
