// Orderflow is a shop on strunk: orders are placed, charged for and shipped, customers are notified, and a search index
// follows the orders' states.
//
// shop.go, handlers.go and search.go are the application, as one would write it; story.go plays a
// day of it, step by step, and checks that what should be true is. The program brings its own
// PostgreSQL (a database of its own on the server of DATABASE_URL, where that is set), ends by
// itself, and leaves nothing behind:
//
//	go run ./examples/orderflow
//
// The last line is "orderflow: ok". If an expectation breaks, the program says which and exits with status 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
)

// longest bounds the story; it takes a second or two.
const longest = 2 * time.Minute

func main() { os.Exit(program(os.Stdout, os.Stderr)) }

// program returns the exit status.
func program(out, problems io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, out); err != nil {
		fmt.Fprintln(problems, "orderflow:", err)
		return 1
	}
	fmt.Fprintln(out, "orderflow: ok")
	return 0
}

func run(ctx context.Context, out io.Writer) (err error) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		return err
	}
	defer pool.Close()

	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	s := newStory(out, pool)
	s.title("PostgreSQL: %s", server.Source())
	return s.play(ctx)
}

// open prepares the database and returns a box on it.
func open(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger) (*outbox.Box, error) {
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, createTables); err != nil {
		return nil, err
	}
	return outbox.Open(ctx, pool, outbox.Config{Logger: logger})
}
