package queue_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// A file is imported row by row. When all rows have ended, however they did, one task reports.
func ExampleNewBatch() {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	box := open(ctx)
	Rows := queue.Define[string]("rows", queue.Config{MaxAttempts: 1})
	Reports := queue.Define[string]("reports", queue.Config{})

	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		batch, err := queue.NewBatch(ctx, tx, "import of customers.csv",
			queue.FollowUp(Reports.Item("tell the office")))
		if err != nil {
			return err
		}
		if _, err = Rows.EnqueueBatch(ctx, tx, []string{"Ada", "Grace", ""}, queue.InBatch(batch)); err != nil {
			return err
		}
		return batch.Close(ctx, tx) // from now on it finishes when all have ended
	})
	if err != nil {
		log.Fatal(err)
	}
	importRow := func(ctx context.Context, task queue.Task[string]) error {
		if task.Payload == "" {
			return fmt.Errorf("the row is empty")
		}
		return nil
	}
	report := func(ctx context.Context, task queue.Task[string]) error {
		batch, err := queue.BatchOf(ctx, box, task.ID)
		if err != nil {
			return err
		}
		s, err := batch.State(ctx, box)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d rows, %d done, %d dead\n", s.Name, s.Added, s.Done, s.Dead)
		stop()
		return nil
	}
	if err := box.Run(ctx, Rows.Worker(importRow), Reports.Worker(report)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// import of customers.csv: 3 rows, 2 done, 1 dead
}
