package encrypt_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/encrypt"
)

func Example() {
	ctx := context.Background()
	current, old := encrypt.NewKey("2026-11"), encrypt.NewKey("2026-08") // from where the service keeps its secrets

	ring, err := encrypt.NewRing(current, old)
	if err != nil {
		log.Fatal(err)
	}
	Cards := queue.Define[string]("cards", queue.Config{
		Middleware: []queue.Middleware{ring.Middleware(encrypt.Strict())},
	})

	box, closeBox := openExample(ctx)
	defer closeBox()
	var id int64
	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		done, err := Cards.Enqueue(ctx, tx, "4242 4242 4242 4242")
		id = done.ID
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	task, err := Cards.Get(ctx, box, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Payload)
	fmt.Println(strings.Contains(string(task.Raw), "4242"))
	// Output:
	// 4242 4242 4242 4242
	// false
}

func openExample(ctx context.Context) (*outbox.Box, func()) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return box, func() { pool.Close(); _ = server.Close() }
}
