package outboxtest_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A test with a database of its own, on a server that nobody had to install by hand or start.
func ExampleNew() {
	_ = func(t *testing.T) { // func TestOrders(t *testing.T)
		pool := outboxtest.New(t)
		box, err := outbox.Open(t.Context(), pool, outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_ = box // the code under test gets it
	}
}

// A test that does not wait for what is due tomorrow.
func ExampleAdvance() {
	_ = func(t *testing.T, box *outbox.Box) { // box is open on a pool of outboxtest.New
		outboxtest.Advance(t, box, 24*time.Hour)
	}
}

// A program that runs without any set-up.
func ExampleStart() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: a database with the outbox in it
}

func run(ctx context.Context) error {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return err
	}
	fmt.Println("a database with the outbox in it")
	return nil
}
