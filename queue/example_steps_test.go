package queue_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// A handler with several commits: none of them comes after another worker has begun the task.
func ExampleTask_Guard() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Archive := queue.Define[int]("archive", queue.Config{})
	enqueue(ctx, box, Archive, 2)

	archive := func(ctx context.Context, task queue.Task[int]) error {
		for part := 1; part <= task.Payload; part++ {
			err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
				if err := task.Guard(ctx, tx); err != nil { // the task is still this worker's
					return err
				}
				_, err := tx.Pgx().Exec(ctx, `DELETE FROM orders WHERE id = $1`, part)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Println("archived part", part, "under a fence:", task.Fence > 0)
		}
		stop()
		return nil
	}
	if err := box.Run(ctx, Archive.Worker(archive)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// archived part 1 under a fence: true
	// archived part 2 under a fence: true
}
