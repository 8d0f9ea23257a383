package queue_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Reports take long and there are many of them; a code is sent all the same while they are made, for one of the slots
// that they share is kept for codes.
func ExampleSlots() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Reports := queue.Define[string]("reports", queue.Config{})
	Emails := queue.Define[string]("emails", queue.Config{})
	Codes := queue.Define[string]("codes", queue.Config{})
	for _, month := range []string{"January", "February", "March", "April"} {
		enqueue(ctx, box, Reports, month)
	}

	var atWork atomic.Int32
	sent := make(chan struct{})
	makeReport := func(ctx context.Context, task queue.Task[string]) error {
		if atWork.Add(1) == 2 {
			enqueue(ctx, box, Codes, "482913")
		}
		<-sent // it takes long
		return nil
	}
	sendCode := func(_ context.Context, task queue.Task[string]) error {
		fmt.Printf("code %s goes out beside %d reports\n", task.Payload, atWork.Load())
		stop() // the end of this example
		close(sent)
		return nil
	}
	send := func(context.Context, queue.Task[string]) error { return nil }

	slots := queue.Slots(3)
	workers := []outbox.Binding{
		Reports.Worker(makeReport, slots),                // may have all slots but the one that is kept
		Emails.Worker(send, slots, queue.SlotWeight(3)),  // three times as many, where both want more
		Codes.Worker(sendCode, slots, queue.MinSlots(1)), // one is kept for it
	}
	if err := box.Run(ctx, workers...); err != nil {
		log.Fatal(err)
	}
	// Output:
	// code 482913 goes out beside 2 reports
}
