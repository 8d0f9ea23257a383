package recipes

import (
	"context"
	"errors"
	"strconv"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// The steps of an order. Each is a task; what a step writes, and the next step, are committed with its end.
var (
	Reserve = queue.Define[int64]("order-reserve", queue.Config{})
	Charge  = queue.Define[int64]("order-charge", queue.Config{})
	Release = queue.Define[int64]("order-release", queue.Config{}) // undoes Reserve
)

// errDeclined is the payment provider's last word.
var errDeclined = errors.New("the card was declined")

func reserve(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int64]) error {
	if _, err := tx.Pgx().Exec(ctx, `UPDATE stock SET free = free - 1`); err != nil {
		return err
	}
	_, err := Charge.Enqueue(ctx, tx, task.Payload)
	return err
}

// charge calls the provider with a key that is the order's, so that a second call charges nothing.
func charge(pay func(ctx context.Context, key string) error) queue.HandlerInTx[int64] {
	return func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int64]) error {
		err := pay(ctx, "order-"+strconv.FormatInt(task.Payload, 10))
		status := "paid"
		if errors.Is(err, errDeclined) { // given up: go back, instead of trying again
			status = "declined"
			_, err = Release.Enqueue(ctx, tx, task.Payload)
		}
		if err != nil {
			return err
		}
		_, err = tx.Pgx().Exec(ctx, `UPDATE orders SET status = $2 WHERE id = $1`, task.Payload, status)
		return err
	}
}

func release(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int64]) error {
	_, err := tx.Pgx().Exec(ctx, `UPDATE stock SET free = free + 1`)
	return err
}
