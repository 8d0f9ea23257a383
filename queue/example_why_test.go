package queue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/strunk-go/strunk/queue"
)

func ExampleWhy() {
	ctx := context.Background()
	box := open(ctx)
	Invoices := queue.Define[string]("invoices", queue.Config{})
	id := enqueue(ctx, box, Invoices, "2026-11")
	if err := Invoices.Pause(ctx, box, "the printer is out of paper"); err != nil {
		log.Fatal(err)
	}

	reasons, err := queue.Why(ctx, box, "invoices", id)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range reasons {
		fmt.Println(r.Cause)
	}
	// Output:
	// paused
	// no_worker
}
