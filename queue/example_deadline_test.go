package queue_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// A code that is a minute old is of no use to anybody.
func ExampleBeginWithin() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	Codes := queue.Define[string]("codes", queue.Config{})
	hook := queue.Middleware{Late: func(ctx context.Context, letter queue.DeadLetter) {
		fmt.Println("too late:", letter.Status)
		stop() // the end of this example
	}}
	box := openWith(ctx, outbox.Config{Extensions: []outbox.Extension{hook}})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Codes.Enqueue(ctx, tx, "482913", queue.BeginWithin(time.Minute))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = box.Pool().Exec(ctx, `UPDATE strunk_outbox_tasks SET begin_before = now()`) // a minute later
	if err != nil {
		log.Fatal(err)
	}
	if err := box.Run(ctx); err != nil { // no worker was there in time
		log.Fatal(err)
	}
	// Output:
	// too late: discarded
}
