package queue_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// engine is a search engine that takes many words at once.
type engine func(words []string)

func (e engine) Add(_ context.Context, words []string) error { e(words); return nil }

// Three words go to the search engine in one request, but for an empty one.
func ExampleQueue_BatchWorker() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Index := queue.Define[string]("index", queue.Config{})
	var done []queue.Enqueued
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
		done, err = Index.EnqueueBatch(ctx, tx, []string{"apple", "", "cherry"})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	search := engine(func(words []string) {
		fmt.Println("adding", words)
		stop() // the end of this example
	})
	index := func(ctx context.Context, tasks []queue.Task[string]) error {
		outcomes := make(queue.Outcomes, len(tasks)) // nil: done
		var words []string
		for i, task := range tasks {
			if task.Payload == "" {
				outcomes[i] = queue.Discard("there is nothing to index")
			} else {
				words = append(words, task.Payload)
			}
		}
		if err := search.Add(ctx, words); err != nil {
			return err // every task is tried again
		}
		return outcomes
	}
	worker := Index.BatchWorker(index, queue.BatchSize(3), queue.BatchWait(10*time.Second))
	if err := box.Run(ctx, worker); err != nil {
		log.Fatal(err)
	}
	for _, d := range done {
		task, err := Index.Get(context.Background(), box, d.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %q\n", task.Status, task.LastError)
	}
	// Output:
	// adding [apple cherry]
	// delivered ""
	// discarded "discarded: there is nothing to index"
	// delivered ""
}
