package events_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// Purchases were of the type "order" before, which older processes still publish.
var Purchases = events.Define("purchase", func(o Order) string { return o.ID },
	events.Config{Aliases: []string{"order"}})

func ExampleConfig_aliases() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "open"}) // by an older process
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Purchases.Publish(ctx, tx, Order{ID: "42", Status: "paid"})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	publish(ctx, box, Order{ID: "42", Status: "shipped"}) // and again

	index := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Println(event.EntityType, event.EntityID, "version", event.Version, event.State.Status)
		if event.Version == 3 {
			stop()
		}
		return nil
	}
	if err := box.Run(ctx, Purchases.Subscriber("search-indexer", index,
		events.From(events.FromBeginning))); err != nil {
		log.Fatal(err)
	}
	// Output:
	// purchase 42 version 1 open
	// purchase 42 version 2 paid
	// purchase 42 version 3 shipped
}

func ExampleAdoptSnapshots() {
	ctx := context.Background()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "open"})
	moved, err := events.AdoptSnapshots(ctx, box, "order", "purchase")
	if err != nil {
		log.Fatal(err)
	}
	snapshot, err := Purchases.Snapshot(ctx, box, "42")
	fmt.Println(moved, snapshot.State.Status, err)
	// Output: 1 open <nil>
}
