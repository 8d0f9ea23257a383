package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// ChargeOrder is the task of taking the money for an order.
type ChargeOrder struct {
	OrderID int64 `json:"order_id"`
	Cents   int64 `json:"cents"`
}

// Notify is the task of telling a customer what has become of an order.
type Notify struct {
	OrderID int64  `json:"order_id"`
	To      string `json:"to"`
	Subject string `json:"subject"`
}

// Order is the state of an order, as its subscribers see it.
type Order struct {
	ID       int64  `json:"id"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Cents    int64  `json:"cents"`
	Status   string `json:"status"`
}

// Orders is the stream of the orders' states, declared once: who publishes and who subscribes share it.
var Orders = events.Define("order", func(o Order) string { return strconv.FormatInt(o.ID, 10) },
	events.Config{SchemaVersion: "1.0"})

// The queues, declared once: who enqueues and who works share them. The waits are short so that the example is.
var (
	Payments      = queue.Define[ChargeOrder]("payments", queue.Config{Retry: retrySoon})
	Notifications = queue.Define[Notify]("notifications", queue.Config{Retry: retrySoon, MaxAttempts: 2})
)

// ErrOutOfStock says that there is not enough of an item; the order was not placed.
var ErrOutOfStock = errors.New("out of stock")

// Shop is the application's own logic: each method is one transaction.
type Shop struct{ box *outbox.Box }

// Receipt is what Place returns.
type Receipt struct {
	OrderID     int64
	PaymentTask int64
}

// Place stores an order, publishes its state, enqueues the task of charging for it and takes the
// item from the stock; or does nothing.
func (s *Shop) Place(ctx context.Context, customer, item string, cents int64) (r Receipt, err error) {
	err = s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		order, err := insertOrder(ctx, tx.Pgx(), customer, item, cents)
		if err != nil {
			return err
		}
		if _, err := Orders.Publish(ctx, tx, order); err != nil {
			return err
		}
		r.OrderID = order.ID
		task, err := Payments.Enqueue(ctx, tx, ChargeOrder{OrderID: r.OrderID, Cents: cents}, queue.Priority(5))
		if err != nil {
			return err
		}
		r.PaymentTask = task.ID
		return takeFromStock(ctx, tx.Pgx(), item)
	})
	return r, err
}

// Ship marks a paid order as shipped, publishes its state and enqueues the notification: business
// data, event and task in one transaction. It returns the notification's task.
func (s *Shop) Ship(ctx context.Context, orderID int64) (task queue.Enqueued, err error) {
	err = s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		order, changed, err := setStatus(ctx, tx.Pgx(), orderID, "paid", "shipped")
		if err != nil {
			return err
		}
		if !changed {
			return fmt.Errorf("order %d is not waiting to be shipped", orderID)
		}
		if _, err := Orders.Publish(ctx, tx, order); err != nil {
			return err
		}
		task, err = Notifications.Enqueue(ctx, tx, Notify{OrderID: orderID, To: order.Customer,
			Subject: "Your order was shipped"},
			queue.DedupKey(fmt.Sprintf("shipped-%d", orderID)))
		return err
	})
	return task, err
}

// paid marks an order as paid, publishes its state and enqueues the notification. Doing so twice
// does nothing the second time: it is called by a task, which is delivered at least once.
func (s *Shop) paid(ctx context.Context, orderID int64) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		order, changed, err := setStatus(ctx, tx.Pgx(), orderID, "placed", "paid")
		if err != nil || !changed {
			return err
		}
		if _, err := Orders.Publish(ctx, tx, order); err != nil {
			return err
		}
		_, err = Notifications.Enqueue(ctx, tx, Notify{OrderID: orderID, To: order.Customer,
			Subject: "Thank you for your payment"})
		return err
	})
}

const createTables = `
CREATE TABLE orders (
	id       bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	customer text NOT NULL,
	item     text NOT NULL,
	cents    bigint NOT NULL,
	status   text NOT NULL DEFAULT 'placed'
);
CREATE TABLE stock (item text PRIMARY KEY, amount integer NOT NULL);
INSERT INTO stock VALUES ('teapot', 10), ('unicorn', 0);`

func insertOrder(ctx context.Context, tx pgx.Tx, customer, item string, cents int64) (Order, error) {
	rows, err := tx.Query(ctx, `INSERT INTO orders (customer, item, cents) VALUES ($1, $2, $3)
		RETURNING id, customer, item, cents, status`, customer, item, cents)
	if err != nil {
		return Order{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Order])
}

func takeFromStock(ctx context.Context, tx pgx.Tx, item string) error {
	tag, err := tx.Exec(ctx, `UPDATE stock SET amount = amount - 1 WHERE item = $1 AND amount > 0`, item)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s", ErrOutOfStock, item)
	}
	return nil
}

// setStatus moves an order from one status to the next, and says whether it did.
func setStatus(ctx context.Context, tx pgx.Tx, orderID int64, from, to string) (order Order, changed bool, err error) {
	rows, err := tx.Query(ctx, `UPDATE orders SET status = $3 WHERE id = $1 AND status = $2
		RETURNING id, customer, item, cents, status`, orderID, from, to)
	if err != nil {
		return order, false, err
	}
	order, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Order])
	if errors.Is(err, pgx.ErrNoRows) {
		return order, false, nil
	}
	return order, err == nil, err
}
