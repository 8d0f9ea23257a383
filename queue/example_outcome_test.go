package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/queue"
)

// A durable subscriber follows how tasks end, as it would follow orders.
func ExampleOutcome() {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	box := open(ctx)
	Payments := queue.Define[string]("payments", queue.Config{MaxAttempts: 1, Outcomes: "payment-outcome"})
	Outcomes := events.Define("payment-outcome", queue.Outcome.EntityID, events.Config{})
	enqueue(ctx, box, Payments, "of a card that has expired")

	pay := func(context.Context, queue.Task[string]) error { return errors.New("the card has expired") }
	audit := func(_ context.Context, e events.Event[queue.Outcome]) error {
		o := e.State
		fmt.Printf("%s: %s after %d attempt: %s\n", o.Queue, o.Status, o.Attempts, o.Error)
		stop()
		return nil
	}
	subscriber := Outcomes.Subscriber("audit", audit, events.From(events.FromBeginning))
	if err := box.Run(ctx, Payments.Worker(pay), subscriber); err != nil {
		log.Fatal(err)
	}
	// Output:
	// payments: dead after 1 attempt: the card has expired
}
