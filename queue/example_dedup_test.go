package queue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type Rebuild struct {
	Page   string `json:"page"`
	Reason string `json:"reason"`
}

// Rebuilds of one page are one task while it waits, whatever their reasons.
var Rebuilds = queue.Define[Rebuild]("rebuilds", queue.Config{
	Dedup: queue.DedupByPayload("page").In(queue.WhileWaiting),
})

func ExampleDedupByPayload() {
	ctx := context.Background()
	box := open(ctx)
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		for _, r := range []Rebuild{{"home", "a new post"}, {"home", "a comment"}, {"about", "a new post"}} {
			done, err := Rebuilds.Enqueue(ctx, tx, r)
			if err != nil {
				return err
			}
			fmt.Println(r.Page, "duplicate:", done.Duplicate)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// home duplicate: false
	// home duplicate: true
	// about duplicate: false
}
