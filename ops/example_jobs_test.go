package ops_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func ExampleStartJob() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	box := exampleBox(ctx)
	emails := queue.Define[string]("emails", queue.Config{})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := emails.EnqueueBatch(ctx, tx, []string{"a@example.com", "b@example.com"})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	obsolete := ops.NewJob{Act: ops.ActCancel, Filter: ops.TaskFilter{Queue: "emails"},
		Reason: "the campaign is over", PerSecond: 1000}
	found, err := ops.PreviewJob(ctx, box, obsolete)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("matching:", found.Matching)
	job, err := ops.StartJob(ctx, box, obsolete)
	if err != nil {
		log.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }() // as a process of yours does
	for job.State == ops.JobRunning && err == nil {
		time.Sleep(50 * time.Millisecond)
		job, err = ops.ReadJob(ctx, box, job.ID)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.State, job.Done)
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// matching: 2
	// done 2
}
