// Command jetstream is a shop whose orders leave their database and come in at another: events go
// out to NATS JetStream with the commit, and the billing service makes an invoice of each, once, in
// a database of its own. It brings PostgreSQL (the programs that are installed) and JetStream with
// it, and ends by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	eventsjs "github.com/strunk-go/strunk/events/jetstream"
	inboxjs "github.com/strunk-go/strunk/inbox/jetstream"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Order is the shop's state, and what billing is told.
type Order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

var (
	orders   = events.Define("order", func(o Order) string { return o.ID }, events.Config{})
	invoices = queue.Define[Order]("invoices", queue.Config{})
)

const sold = 20

func main() {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	if err := run(ctx, stop); err != nil {
		log.Fatal(err)
	}
	fmt.Println("jetstream: ok")
}

func run(ctx context.Context, stop func()) error {
	js, closeJS, err := startJetStream()
	if err != nil {
		return err
	}
	defer closeJS()
	shop, closeShop, err := openDatabase(ctx)
	if err != nil {
		return err
	}
	defer closeShop()
	billing, closeBilling, err := openDatabase(ctx)
	if err != nil {
		return err
	}
	defer closeBilling()

	forwarder := eventsjs.Forward(orders, js, eventsjs.Config{Stream: "ORDERS", Create: &jetstream.StreamConfig{}},
		forward.Source("/shop"))
	if err := sell(ctx, shop); err != nil {
		return err
	}
	consumer, err := consume(ctx, js)
	if err != nil {
		return err
	}
	var made atomic.Int64
	invoice := func(ctx context.Context, tx *outbox.OwnedTx, t queue.Task[Order]) error {
		_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.invoices (order_id, cents) VALUES ($1,
			$2)`, t.Payload.ID, t.Payload.Cents)
		if err == nil {
			tx.AfterCommit(func() {
				if made.Add(1) == sold {
					stop()
				}
			})
		}
		return err
	}
	err = outbox.RunAll(ctx, outbox.On(shop, forwarder),
		outbox.On(billing, inboxjs.Receive(invoices, "billing", consumer), invoices.WorkerInTx(invoice)))
	if n := made.Load(); err == nil && n != sold {
		err = fmt.Errorf("%d invoices for %d orders", n, sold)
	}
	return err
}

func sell(ctx context.Context, shop *outbox.Box) error {
	for i := range sold {
		err := shop.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := orders.Publish(ctx, tx, Order{ID: fmt.Sprintf("order-%d", i+1), Cents: 100 * (i + 1)})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// consume makes billing's durable consumer. The stream may be there already or not.
func consume(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "ORDERS",
		Subjects: []string{"events.>"}}); err != nil {
		return nil, err
	}
	return js.CreateOrUpdateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "billing",
		AckPolicy: jetstream.AckExplicitPolicy})
}

func startJetStream() (jetstream.JetStream, func(), error) {
	dir, err := os.MkdirTemp("", "jetstream")
	if err != nil {
		return nil, nil, err
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true,
		StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, nil, err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return nil, nil, errors.New("the NATS server does not answer")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return js, func() { nc.Close(); s.Shutdown(); s.WaitForShutdown(); _ = os.RemoveAll(dir) }, err
}

func openDatabase(ctx context.Context) (*outbox.Box, func(), error) {
	postgres, err := outboxtest.Start(ctx)
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(ctx, postgres.DSN())
	if err != nil {
		return nil, nil, err
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return nil, nil, err
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE public.invoices (order_id text PRIMARY KEY, cents integer
		NOT NULL)`); err != nil {
		return nil, nil, err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	return box, func() { pool.Close(); _ = postgres.Close() }, err
}
