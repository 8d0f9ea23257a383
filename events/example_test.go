package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

type Order struct {
	ID     string  `json:"id"`
	Status string  `json:"status"`
	Total  float64 `json:"total"`
}

// A stream is declared once, for publishers and subscribers.
var Orders = events.Define("order", func(o Order) string { return o.ID }, events.Config{})

// Published in the transaction of the business data, an event exists if and only if that is committed.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	order := Order{ID: "42", Status: "shipped", Total: 59.99}
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := tx.Pgx().Exec(ctx, `UPDATE orders SET status = $2
			WHERE id = $1`, order.ID, order.Status); err != nil {
			return err
		}
		_, err := Orders.Publish(ctx, tx, order)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	index := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Println("indexing order", event.EntityID, "version", event.Version, event.State.Status)
		stop() // the end of this example; a service runs until it is told to end
		return nil
	}
	if err := box.Run(ctx, Orders.Subscriber("search-indexer", index)); err != nil {
		log.Fatal(err)
	}
	// Output: indexing order 42 version 1 shipped
}

func ExampleStream_Snapshot() {
	ctx := context.Background()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "placed"}, Order{ID: "42", Status: "confirmed"},
		Order{ID: "43", Status: "placed"})

	snapshot, err := Orders.Snapshot(ctx, box, "42")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(snapshot.State.Status, "at version", snapshot.Version)

	for snapshot, err := range Orders.Snapshots(ctx, box) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(snapshot.EntityID, snapshot.State.Status)
	}

	_, err = Orders.Snapshot(ctx, box, "44")
	fmt.Println(errors.Is(err, events.ErrNotFound))
	// Output:
	// confirmed at version 2
	// 42 confirmed
	// 43 placed
	// true
}

func ExampleStream_PublishBatch() {
	ctx := context.Background()
	box := open(ctx)
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		published, err := Orders.PublishBatch(ctx, tx, []Order{{ID: "1", Status: "placed"},
			{ID: "2", Status: "placed"}, {ID: "1", Status: "paid"}},
			events.SchemaVersion("1.1"), events.Metadata(map[string]string{"import": "2026-11"}))
		if err != nil {
			return err
		}
		fmt.Println(published[0].Version, published[1].Version, published[2].Version)

		_, err = events.PublishAll(ctx, tx,
			Orders.Item(Order{ID: "2", Status: "paid"}, events.Diff(json.RawMessage(`{"status":["placed","paid"]}`))),
			Orders.Tombstone("1"))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: 1 1 2
}

// What a handler writes in its transaction commits together with the cursor.
func ExampleStream_SubscriberInTx() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "placed", Total: 10}, Order{ID: "43", Status: "placed", Total: 20})

	project := func(ctx context.Context, tx *outbox.OwnedTx, event events.Event[Order]) error {
		_, err := tx.Pgx().Exec(ctx, `INSERT INTO orders (id, status) VALUES ($1, $2)
			ON CONFLICT (id) DO UPDATE SET status = excluded.status`, event.EntityID, event.State.Status)
		if event.EntityID == "43" {
			tx.AfterCommit(stop) // the end of this example
		}
		return err
	}
	if err := box.Run(ctx, Orders.SubscriberInTx("projection", project)); err != nil {
		log.Fatal(err)
	}
	var n int
	if err := box.Pool().QueryRow(context.Background(), `SELECT count(*) FROM orders
		WHERE status = 'placed'`).Scan(&n); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n)
	// Output: 2
}

// An entity whose event fails is parked; the others go on, and a person has it tried again.
func ExampleOnFailure() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "odd"}, Order{ID: "43", Status: "placed"})

	var mended atomic.Bool
	index := func(ctx context.Context, event events.Event[Order]) error {
		if event.State.Status == "odd" && !mended.Load() {
			return errors.New("unknown status")
		}
		fmt.Println("indexed", event.EntityID)
		if event.EntityID == "42" {
			stop() // the end of this example
		}
		return nil
	}
	go func() {
		for ctx.Err() == nil { // what a person does
			parked, err := events.Parked(ctx, box, "indexer", 10)
			if err == nil && len(parked) == 1 && parked[0].Waiting {
				fmt.Println("parked", parked[0].EntityID, "after", parked[0].Attempts, "attempts:", parked[0].LastError)
				mended.Store(true)
				if err := events.RetryParked(ctx, box, "indexer", parked[0].EntityID); err != nil {
					log.Fatal(err)
				}
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	err := box.Run(ctx, Orders.Subscriber("indexer", index,
		events.OnFailure(events.Park),
		events.MaxAttempts(2),
		events.Retry(events.Backoff{First: time.Second})))
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// indexed 43
	// parked 42 after 2 attempts: unknown status
	// indexed 42
}

// A subscriber is rewound while it runs, here or in another process.
func ExampleReplay() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "placed"}, Order{ID: "42", Status: "paid"})

	n := 0
	index := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Println(event.Position, event.State.Status)
		switch n++; n {
		case 2:
			return events.Replay(ctx, box, "search-indexer", 1)
		case 4:
			stop()
		}
		return nil
	}
	if err := box.Run(ctx, Orders.Subscriber("search-indexer", index)); err != nil {
		log.Fatal(err)
	}
	var outOfRange *events.RangeError
	err := events.Replay(context.Background(), box, "search-indexer", 99)
	fmt.Println(errors.As(err, &outOfRange), outOfRange.Earliest, outOfRange.Head)
	// Output:
	// 1 placed
	// 2 paid
	// 1 placed
	// 2 paid
	// true 1 2
}

// A new subscriber is given every entity's state, and then what comes after.
func ExampleFrom() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "placed"}, Order{ID: "42", Status: "paid"},
		Order{ID: "42", Status: "shipped"})

	index := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Println(event.EntityID, event.Version, event.State.Status, event.FromSnapshot)
		stop()
		return nil
	}
	if err := box.Run(ctx, Orders.Subscriber("late-comer", index, events.From(events.FromSnapshots))); err != nil {
		log.Fatal(err)
	}
	// Output: 42 3 shipped true
}

// publish publishes states, one transaction each.
func publish(ctx context.Context, box *outbox.Box, orders ...Order) {
	for _, order := range orders {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error { _, err := Orders.Publish(ctx, tx, order); return err })
		if err != nil {
			log.Fatal(err)
		}
	}
}

var (
	exampleServer = sync.OnceValues(func() (*outboxtest.Server,
		error) {
		return outboxtest.Start(context.Background())
	})
	examples atomic.Int64
)

// open returns a box with a schema of its own, in which there is a table of orders.
func open(ctx context.Context) *outbox.Box {
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
	if _, err := pool.Exec(ctx, `CREATE TABLE orders (id text PRIMARY KEY, status text)`); err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Schema: schema, Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	return box
}
