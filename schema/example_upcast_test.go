package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// A subscriber that reads customers of all versions.
func ExampleUpcast_subscriber() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box, done := openExample(ctx)
	defer done()
	stream := events.Define("customer", func(json.RawMessage) string { return "1" }, events.Config{})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := events.PublishAll(ctx, tx,
			stream.Item(json.RawMessage(`{"Name": "Ada Lovelace"}`), events.SchemaVersion("1.0")),
			stream.Item(json.RawMessage(`{"First": 1}`), events.SchemaVersion("2.0")))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	handle := func(ctx context.Context, event events.Event[json.RawMessage]) error {
		customer, err := customers.Decode(event.SchemaVersion, event.State)
		if err != nil {
			return err // set aside at once: it is an events.ErrPoison
		}
		fmt.Println(customer.Last)
		return nil
	}
	go func() {
		for {
			if dead, err := events.Dead(ctx, box, "index", 1); err != nil || len(dead) > 0 {
				stop()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	sub := stream.Subscriber("index", handle, events.OnFailure(events.DeadLetter), events.From(events.FromBeginning))
	if err := box.Run(ctx, sub); err != nil {
		log.Fatal(err)
	}
	dead, err := events.Dead(context.Background(), box, "index", 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("set aside: %s\n", dead[0].State)
	// Output:
	// Lovelace
	// set aside: {"First":1}
}
