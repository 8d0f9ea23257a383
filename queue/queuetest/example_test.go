package queuetest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

// A handler that charges a customer twice when its process is killed at the wrong moment. With ON CONFLICT (order_id)
// DO NOTHING, or as a WorkerInTx, it passes.
func ExampleRequireIdempotent() {
	run(func(t testing.TB) { // func TestCheckout(t *testing.T)
		pool := outboxtest.New(t)
		box, err := outbox.Open(t.Context(), pool, outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), `
			CREATE TABLE public.charges (id bigserial PRIMARY KEY, order_id integer, cents integer);
			CREATE TABLE public.orders (id integer PRIMARY KEY, status text);
			INSERT INTO public.orders VALUES (7, 'new')`); err != nil {
			t.Fatal(err)
		}
		Checkouts := queue.Define[int]("checkouts", queue.Config{})
		checkout := func(ctx context.Context, task queue.Task[int]) error {
			_, err := pool.Exec(ctx, `INSERT INTO public.charges (order_id, cents) VALUES ($1, 990)`, task.Payload)
			if err != nil {
				return err
			}
			_, err = pool.Exec(ctx, `UPDATE public.orders SET status = 'paid' WHERE id = $1`, task.Payload)
			return err
		}
		queuetest.RequireIdempotent(t, box, Checkouts.Worker(checkout), queue.Task[int]{Payload: 7},
			"public.charges", "public.orders")
	})
	// Output:
	// queuetest.RequireIdempotent: the process was killed after statement 1 of 2.
	// After another delivery the tables differ from those of one undisturbed delivery (- missing, + too many):
	// table public.charges
	//   + {"order_id":7,"cents":990}
	// the statements of an undisturbed delivery:
	// > 1 INSERT INTO public.charges (order_id, cents) VALUES ($1, 990)
	//   2 UPDATE public.orders SET status = 'paid' WHERE id = $1
}

// A dead letter from production is a test case. The file is what strunk show --json --payload 12345 has printed.
func ExampleLoadFile() {
	run(func(t testing.TB) { // func TestOrderWithoutCustomer(t *testing.T)
		box, err := outbox.Open(t.Context(), outboxtest.New(t), outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		Checkouts := queue.Define[int]("checkouts", queue.Config{})
		checkout := func(context.Context, queue.Task[int]) error { return nil } // it was mended

		task := queuetest.LoadFile(t, box, Checkouts, "testdata/dead.json")
		got := queuetest.Work(t, queuetest.RollBack(t, box), Checkouts.Worker(checkout), task.Payload)
		fmt.Println("order", task.Payload, "failed at attempt", task.Attempt, "and is", got.Status, "now")
	})
	// Output: order 7 failed at attempt 12 and is delivered now
}

// printed is a test that prints why it has failed.
type printed struct {
	testing.TB
	cleanups []func()
}

func run(test func(t testing.TB)) {
	t := &printed{}
	defer func() {
		_ = recover() // it has failed
		for _, cleanup := range slices.Backward(t.cleanups) {
			cleanup()
		}
	}()
	test(t)
}

func (t *printed) Helper()                           {}
func (t *printed) Context() context.Context          { return context.Background() }
func (t *printed) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *printed) Error(args ...any)                 { fmt.Println(args...) }
func (t *printed) Fatal(args ...any)                 { fmt.Println(args...); panic(t) }
func (t *printed) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...); panic(t) }
