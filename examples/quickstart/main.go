// Quickstart is the program of the README: it enqueues one task in a transaction and works it.
//
//	DATABASE_URL=postgres://localhost/mydb go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type SendEmail struct{ To, Template string }

// Emails is declared once: producers and workers share its name, its payload's type and its defaults.
var Emails = queue.Define[SendEmail]("emails", queue.Config{MaxAttempts: 5})

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	check(outbox.Migrate(ctx, pool, outbox.MigrateConfig{}))
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	check(err)

	check(box.InTx(ctx, func(tx *outbox.OwnedTx) error { // both writes, or neither
		if _, err := tx.Pgx().Exec(ctx, "CREATE TABLE IF NOT EXISTS users AS SELECT 42 AS id"); err != nil {
			return err
		}
		_, err := Emails.Enqueue(ctx, tx, SendEmail{"user@example.com", "welcome"}, queue.DedupKey("welcome-42"))
		return err
	}))

	check(box.Run(ctx, Emails.Worker(func(ctx context.Context, task queue.Task[SendEmail]) error {
		fmt.Println("sending", task.Payload.Template, "to", task.Payload.To)
		stop() // a service would go on: Run returns when ctx ends and the running handlers have finished
		return nil
	}, queue.Concurrency(8))))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
