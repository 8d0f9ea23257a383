package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

func ExampleEachType() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	publish(ctx, box, Order{ID: "42", Status: "open"})

	audit := func(ctx context.Context, event events.Event[json.RawMessage]) error {
		fmt.Println(event.EntityType, event.EntityID, string(event.State))
		stop()
		return nil
	}
	err := box.Run(ctx, events.EachType("audit", func(stream *events.Stream[json.RawMessage]) outbox.Binding {
		return stream.Subscriber("audit:"+stream.EntityType(), audit)
	}))
	if err != nil {
		log.Fatal(err)
	}
	// Output: order 42 {"id":"42","status":"open","total":0}
}
