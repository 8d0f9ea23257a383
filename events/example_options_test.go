package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// What travels with a state: what has changed, the version of its contract, and whatever else a subscriber needs.
func ExampleDiff() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Orders.Publish(ctx, tx, Order{ID: "42", Status: "paid"},
			events.Diff(json.RawMessage(`{"status": ["placed", "paid"]}`)), events.SchemaVersion("1.1"),
			events.Metadata(map[string]string{"tenant": "acme"}))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	audit := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Printf("%s %s %s\n", event.Diff, event.SchemaVersion, event.Metadata["tenant"])
		stop()
		return nil
	}
	if err := box.Run(ctx, Orders.Subscriber("audit", audit, events.From(events.FromBeginning))); err != nil {
		log.Fatal(err)
	}
	// Output: {"status": ["placed", "paid"]} 1.1 acme
}

// An event that fails is tried again as the policy says; MaxAttempts and OnFailure say what follows.
func ExampleRetry() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "placed"})

	index := func(ctx context.Context, event events.Event[Order]) error {
		fmt.Println("attempt", event.Attempt)
		if event.Attempt < 3 {
			return errors.New("503 Service Unavailable")
		}
		stop()
		return nil
	}
	quick := events.Backoff{First: 10 * time.Millisecond, Max: time.Second}
	subscriber := Orders.Subscriber("search-indexer", index, events.From(events.FromBeginning),
		events.Retry(quick), events.MaxAttempts(5), events.OnFailure(events.Park))
	if err := box.Run(ctx, subscriber); err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
}
