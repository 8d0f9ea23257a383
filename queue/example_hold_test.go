package queue_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// A provider that answers "too many requests" is asked nothing more, by no process, until the time that it names.
func ExampleHold() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Texts := queue.Define[string]("texts", queue.Config{})
	enqueue(ctx, box, Texts, "hello")
	asked, retryAfter := 0, time.Second

	send := func(ctx context.Context, task queue.Task[string]) error {
		if asked++; asked == 1 { // the provider has answered with status 429
			return queue.Hold(ctx, time.Now().Add(retryAfter)) // all of the queue, no attempt spent
		}
		fmt.Println("sent in attempt", task.Attempt)
		stop()
		return nil
	}
	if err := box.Run(ctx, Texts.Worker(send)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sent in attempt 1
}
