package queue_test

import (
	"context"
	"errors"
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

// The card is charged once, although the attempt fails after it.
func ExampleStep() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Checkouts := queue.Define[int]("checkouts", queue.Config{Retry: queue.Backoff{First: time.Millisecond}})
	enqueue(ctx, box, Checkouts, 42)

	checkout := func(ctx context.Context, task queue.Task[int]) error {
		receipt, err := queue.Step(ctx, "charge", func(ctx context.Context) (string, error) {
			fmt.Println("charging for order", task.Payload)
			return "receipt 7", nil // the id of the task is a good idempotency key for the call
		})
		if err != nil {
			return err
		}
		if task.Attempt == 1 {
			return errors.New("the mail server is away")
		}
		fmt.Println("mailing", receipt, "in attempt", task.Attempt)
		stop()
		return nil
	}
	if err := box.Run(ctx, Checkouts.Worker(checkout)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// charging for order 42
	// mailing receipt 7 in attempt 2
}

// A release that has renamed a step is told so, and does not charge the card again.
func ExampleStep_renamed() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	retry := queue.Backoff{First: time.Millisecond}
	Orders := queue.Define[int]("orders", queue.Config{Steps: []string{"charge"}, Retry: retry})
	enqueue(ctx, box, Orders, 42)
	charge := func(ctx context.Context, step string) error {
		_, err := queue.Step(ctx, step, func(context.Context) (int, error) { return fmt.Println("charging") })
		return err
	}

	release, end := context.WithCancel(ctx)
	err := box.Run(release, Orders.Worker(func(ctx context.Context, _ queue.Task[int]) error {
		err := charge(ctx, "charge")
		end()
		return errors.Join(err, errors.New("the mail server is away"))
	}))
	if err != nil {
		log.Fatal(err)
	}

	Orders = queue.Define[int]("orders", queue.Config{Steps: []string{"charge card", "mail *"}, Retry: retry})
	err = box.Run(ctx, Orders.Worker(func(ctx context.Context, _ queue.Task[int]) error {
		err := charge(ctx, "charge card")
		fmt.Println("renamed:", errors.Is(err, queue.ErrStepChanged))
		stop()
		return err
	}))
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// charging
	// renamed: true
}

// What a step writes and the result that it leaves are committed together.
func ExampleStepInTx() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Transfers := queue.Define[int]("transfers", queue.Config{})
	enqueue(ctx, box, Transfers, 42)

	transfer := func(ctx context.Context, task queue.Task[int]) error {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := queue.StepInTx(ctx, tx, "book", func(ctx context.Context) (bool, error) {
				_, err := tx.Pgx().Exec(ctx, `UPDATE orders SET status = 'paid' WHERE id = $1`, task.Payload)
				return true, err
			})
			return err
		})
		fmt.Println("booked:", err == nil)
		stop()
		return err
	}
	if err := box.Run(ctx, Transfers.Worker(transfer)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// booked: true
}
