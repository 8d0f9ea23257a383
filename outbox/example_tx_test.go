package outbox_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

var welcomes = queue.Define[string]("welcomes", queue.Config{})

// A transaction of the box's own, one of pgx and one of database/sql: in each, a task is enqueued beside the
// application's SQL, and exists if that commits.
func ExampleBox() {
	ctx := context.Background()
	pool, closePool := examplePool(ctx)
	defer closePool()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}

	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		tx.AfterCommit(func() { fmt.Println("committed") })
		_, err := welcomes.Enqueue(ctx, tx, "ada@example.com")
		return err
	}, outbox.WithTxOptions(pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))
	if err != nil {
		log.Fatal(err)
	}

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := welcomes.Enqueue(ctx, box.Tx(tx), "grace@example.com")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := welcomes.Enqueue(ctx, box.SQLTx(tx), "lost@example.com"); err != nil {
		log.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		log.Fatal(err)
	}

	var tasks int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM strunk_outbox WHERE kind = 'task'`).Scan(&tasks); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tasks, "tasks")
	// Output:
	// committed
	// 2 tasks
}
