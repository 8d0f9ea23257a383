// Shards spreads the customers of an application over two databases: each customer's rows, tasks and
// events are in one of them, and one process works both. It starts two throwaway databases, and ends
// in "shards: ok".
//
//	go run ./examples/shards
package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
	"github.com/strunk-go/strunk/queue"
)

// Welcome is the payload of Welcomes.
type Welcome struct{ Customer string }

// Welcomes is declared once, whatever the number of databases.
var Welcomes = queue.Define[Welcome]("welcomes", queue.Config{})

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "shards:", err)
		os.Exit(1)
	}
}

// Shards are the boxes of all databases. Their order is what customers are spread by: a shard that is
// added needs a table of customers in place of the hash.
type Shards []*outbox.Box

// Of returns the box that has a customer.
func (s Shards) Of(customer string) *outbox.Box {
	h := fnv.New32a()
	_, _ = h.Write([]byte(customer)) // never fails
	return s[h.Sum32()%uint32(len(s))]
}

// SignUp stores a customer and the task that welcomes them in one transaction of their shard.
func (s Shards) SignUp(ctx context.Context, customer string) error {
	return s.Of(customer).InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := tx.Pgx().Exec(ctx, "INSERT INTO customers (name) VALUES ($1)", customer); err != nil {
			return err
		}
		_, err := Welcomes.Enqueue(ctx, tx, Welcome{customer})
		return err
	})
}

// Work runs one process for all shards, each with its own worker. One whose database is away is
// started again by itself, and the others go on.
func (s Shards) Work(ctx context.Context, welcome queue.Handler[Welcome]) error {
	parts := make([]outbox.Part, len(s))
	for i, box := range s {
		parts[i] = outbox.On(box, Welcomes.Worker(welcome))
	}
	return outbox.RunAll(ctx, parts...)
}

// Customers asks all shards at once for what each has.
func (s Shards) Customers(ctx context.Context) ([][]string, error) {
	found, errs := make([][]string, len(s)), make(chan error, len(s))
	for i, box := range s {
		go func() {
			rows, err := box.Pool().Query(ctx, "SELECT name FROM customers ORDER BY name")
			if err == nil {
				found[i], err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			errs <- err
		}()
	}
	for range s {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	return found, nil
}

func run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	var shards Shards
	for _, name := range []string{"north", "south"} {
		box, err := openShard(ctx, server, name)
		if err != nil {
			return err
		}
		defer box.Pool().Close()
		shards = append(shards, box)
	}
	return story(ctx, out, shards)
}

// story signs customers up, welcomes them, and shows where they are.
func story(ctx context.Context, out io.Writer, shards Shards) error {
	customers := []string{"ada", "bob", "cleo", "dora", "emil", "fred"}
	for _, customer := range customers {
		if err := shards.SignUp(ctx, customer); err != nil {
			return err
		}
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var welcomed []string
	err := shards.Work(working, func(_ context.Context, task queue.Task[Welcome]) error {
		mu.Lock()
		defer mu.Unlock()
		if welcomed = append(welcomed, task.Payload.Customer); len(welcomed) == len(customers) {
			stop()
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(welcomed)
	fmt.Fprintln(out, "welcomed:", welcomed)
	found, err := shards.Customers(ctx)
	if err != nil {
		return err
	}
	for i, names := range found {
		fmt.Fprintf(out, "shard %d: %v\n", i, names)
	}
	fmt.Fprintln(out, "shards: ok")
	return nil
}

// openShard makes a database of the server, with the business table and strunk's.
func openShard(ctx context.Context, server *outboxtest.Server, name string) (*outbox.Box, error) {
	admin, err := pgx.Connect(ctx, server.DSN())
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close(ctx) }()
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(server.DSN())
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Database = name
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE customers (name text PRIMARY KEY)"); err != nil {
		return nil, err
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return nil, err
	}
	return outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
}
