package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// However many processes work the queue, two videos are rendered at once, and one of a customer:
// the first of acme and that of globex.
func ExampleLimits() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	Videos := queue.Define[string]("videos", queue.Config{Limits: queue.Limits{
		Running:       2, // of the queue
		RunningPerKey: 1, // of each key
	}})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := queue.EnqueueAll(ctx, tx,
			Videos.Item("intro.mp4", queue.CustomerKey("acme")),
			Videos.Item("outro.mp4", queue.CustomerKey("acme")),
			Videos.Item("advert.mp4", queue.CustomerKey("globex")))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	began, goOn, ended := make(chan string, 3), make(chan bool), make(chan bool, 3)
	render := func(ctx context.Context, task queue.Task[string]) error {
		began <- task.CustomerKey + ": " + task.Payload
		<-goOn
		ended <- true
		return nil
	}
	running := background(box, ctx, Videos.Worker(render, queue.Concurrency(8)))
	atOnce := []string{<-began, <-began}
	slices.Sort(atOnce)
	fmt.Println(atOnce)
	close(goOn)
	fmt.Println(<-began)
	for range 3 {
		<-ended
	}
	stop()
	running.Wait()
	// Output:
	// [acme: intro.mp4 globex: advert.mp4]
	// acme: outro.mp4
}

// The bookings of an account run one at a time, in their order; the one that fails is tried again
// before the next begins.
func ExampleLimits_fifo() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	Bookings := queue.Define[string]("bookings", queue.Config{
		Retry:  queue.Backoff{First: 10 * time.Millisecond},
		Limits: queue.Limits{FIFO: true},
	})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Bookings.EnqueueBatch(ctx, tx, []string{"open", "deposit", "close"}, queue.CustomerKey("account-42"))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	book := func(ctx context.Context, task queue.Task[string]) error {
		fmt.Println(task.Payload, "in attempt", task.Attempt)
		if task.Payload == "deposit" && task.Attempt == 1 {
			return errors.New("the bank does not answer")
		}
		if task.Payload == "close" {
			stop() // the end of this example
		}
		return nil
	}
	if err := box.Run(ctx, Bookings.Worker(book)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// open in attempt 1
	// deposit in attempt 1
	// deposit in attempt 2
	// close in attempt 1
}

// Twenty a second, one after the other.
func ExampleRate() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	Lookups := queue.Define[int]("lookups", queue.Config{Limits: queue.Limits{
		Rate:       queue.Rate{Count: 20, Per: time.Second},
		RatePerKey: queue.Rate{Count: 1000, Per: time.Hour, Burst: 50},
	}})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Lookups.EnqueueBatch(ctx, tx, []int{1, 2, 3, 4}, queue.CustomerKey("acme"))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	ended := make(chan bool, 4)
	look := func(ctx context.Context, task queue.Task[int]) error {
		ended <- true
		return nil
	}
	running := background(box, ctx, Lookups.Worker(look))
	for range 4 {
		<-ended
	}
	stop()
	running.Wait()

	var paced bool
	err = box.Pool().QueryRow(context.Background(), `
		SELECT max(claimed_at) - min(claimed_at) >= interval '150 ms' FROM strunk_outbox
		WHERE key = 'lookups'`).Scan(&paced)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("three times 50 ms between the first and the fourth:", paced)
	// Output: three times 50 ms between the first and the fourth: true
}

// A change reaches the workers of all processes while they run.
func ExampleQueue_SetLimits() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Imports := queue.Define[int]("imports", queue.Config{Limits: queue.Limits{Running: 1}})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Imports.EnqueueBatch(ctx, tx, []int{1, 2, 3})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	began, goOn := make(chan bool, 3), make(chan bool)
	load := func(ctx context.Context, task queue.Task[int]) error {
		began <- true
		<-goOn
		return nil
	}
	running := background(box, ctx, Imports.Worker(load))
	<-began
	fmt.Println("one runs")

	if err := Imports.SetLimits(ctx, box, queue.Limits{Running: 3}); err != nil {
		log.Fatal(err)
	}
	<-began
	<-began
	fmt.Println("three run")

	// The same in SQL, which sets all limits anew too.
	_, err = box.Pool().Exec(ctx, `SELECT strunk_set_limits('imports', running => 2, rate => 100, rate_per =>
		'1 minute')`)
	if err != nil {
		log.Fatal(err)
	}
	limits, err := Imports.Limits(ctx, box)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(limits.Running, "running,", limits.Rate.Count, "in", limits.Rate.Per)
	close(goOn)
	stop()
	running.Wait()
	// Output:
	// one runs
	// three run
	// 2 running, 100 in 1m0s
}

// A customer with many imports that came first delays no other: the keys take turns, and gold gets two turns for each
// of the others.
func ExampleLimits_fair() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)

	Imports := queue.Define[string]("imports", queue.Config{Limits: queue.Limits{Fair: true}})
	if err := Imports.SetKeyLimits(ctx, box, queue.KeyLimits{Weight: 2}, "gold"); err != nil {
		log.Fatal(err)
	}
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		for _, customer := range []string{"big", "big", "big", "big", "gold", "gold", "gold", "small"} {
			if _, err := Imports.Enqueue(ctx, tx, "a file", queue.CustomerKey(customer)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	var began []string
	read := func(ctx context.Context, task queue.Task[string]) error {
		began = append(began, task.CustomerKey)
		if len(began) == 8 {
			stop() // the end of this example
		}
		return nil
	}
	if err := box.Run(ctx, Imports.Worker(read, queue.Concurrency(1))); err != nil {
		log.Fatal(err)
	}
	fmt.Println(began)
	// Output: [gold big small gold gold big big big]
}
