package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	alice  = "alice@example.com"
	mallet = "mallet@nowhere.invalid"
)

// story plays the scenario. Each step says what it does, does it, and checks what must be true afterwards.
type story struct {
	printer
	pool *pgxpool.Pool
	box  *outbox.Box
	shop *Shop
	bank *bank
	mail *mailServer
	// index is what the subscriber keeps.
	index *searchIndex

	order, refused Receipt // alice's order, and the one whose mail cannot be delivered
}

func newStory(out io.Writer, pool *pgxpool.Pool) *story {
	return &story{
		printer: printer{out: out},
		pool:    pool,
		bank:    &bank{failures: 2, charged: map[string]int64{}},
		mail:    &mailServer{},
		index:   &searchIndex{entries: map[string]entry{}},
	}
}

// play runs the steps. The workers join after the first steps, as they do when they are deployed on their own.
func (s *story) play(ctx context.Context) error {
	if err := s.steps(ctx, s.prepare, s.placeOrder, s.rollBack); err != nil {
		return err
	}
	working, stop := s.work(ctx)
	err := s.steps(working, s.paidAfterTwoFailures, s.shipOrder, s.deadLetter, s.orderIsIndexed, s.readSnapshot,
		s.replay)
	return errors.Join(err, stop())
}

func (s *story) steps(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) prepare(ctx context.Context) (err error) {
	s.title("Migrate the database and open it")
	// What strunk has to say about failed attempts, the story says itself.
	if s.box, err = open(ctx, s.pool, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	s.shop = &Shop{box: s.box}
	return nil
}

func (s *story) placeOrder(ctx context.Context) (err error) {
	s.title("Place an order: its row, its state and the task to charge for it, in one transaction")
	if s.order, err = s.shop.Place(ctx, alice, "teapot", 5999); err != nil {
		return err
	}
	status, err := s.orderStatus(ctx, s.order.OrderID)
	if err != nil {
		return err
	}
	task, err := Payments.Get(ctx, s.box, s.order.PaymentTask)
	if err != nil {
		return err
	}
	s.print("order %d is %s; task %d on %q is %s", s.order.OrderID, status, task.ID, task.Queue, task.Status)
	return errors.Join(
		expect(status == "placed", "the order is placed, not %q", status),
		expect(task.Status == queue.StatusPending, "its task is pending, not %q", task.Status),
		expect(task.Payload == ChargeOrder{OrderID: s.order.OrderID, Cents: 5999},
			"the task has the order's payload, not %+v", task.Payload),
	)
}

func (s *story) rollBack(ctx context.Context) error {
	s.title("Place an order for what is out of stock: the transaction rolls back")
	before, err := s.counts(ctx)
	if err != nil {
		return err
	}
	_, failure := s.shop.Place(ctx, alice, "unicorn", 1)
	after, err := s.counts(ctx)
	if err != nil {
		return err
	}
	s.print("the answer: %v; orders %d, tasks and events %d, as before", failure, after.orders, after.rows)
	return errors.Join(
		expect(errors.Is(failure, ErrOutOfStock), "placing the order fails with %q, not %v", ErrOutOfStock, failure),
		expect(after == before, "a transaction that rolled back leaves nothing, neither order nor task nor event: "+
			"%+v before, %+v after", before, after),
	)
}

// work starts the workers. It returns a context that ends when they do, so that no step waits for what cannot come, and
// the func that stops them, gracefully.
func (s *story) work(ctx context.Context) (working context.Context, stop func() error) {
	s.title("Start the workers and the search indexer; the bank will fail twice")
	working, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	handlers := &Handlers{shop: s.shop, bank: s.bank, mail: s.mail, index: s.index, print: s.print}
	go func() {
		defer cancel()
		ended <- s.box.Run(working, handlers.Bindings()...)
	}()
	return working, func() error {
		s.title("Stop the workers and the indexer")
		cancel()
		return <-ended
	}
}

func (s *story) paidAfterTwoFailures(ctx context.Context) error {
	task, err := await(ctx, s.box, Payments, s.order.PaymentTask, queue.StatusDelivered)
	if err != nil {
		return err
	}
	status, err := s.orderStatus(ctx, s.order.OrderID)
	if err != nil {
		return err
	}
	s.print("order %d is %s after %d attempts", s.order.OrderID, status, task.Attempt)
	charged := s.bank.total(fmt.Sprintf("order-%d", s.order.OrderID))
	return errors.Join(
		expect(status == "paid", "the order is paid, not %q", status),
		expect(task.Attempt == 3, "the task needed 3 attempts, not %d", task.Attempt),
		expect(len(task.Attempts) == 2, "the history has 2 failed attempts, not %d", len(task.Attempts)),
		expect(charged == 5999, "the bank has charged 5999 cents, not %d", charged),
	)
}

func (s *story) shipOrder(ctx context.Context) error {
	s.title("Ship the order: the update, the event and the notification, in one transaction")
	sent, err := s.shop.Ship(ctx, s.order.OrderID)
	if err != nil {
		return err
	}
	if _, err := await(ctx, s.box, Notifications, sent.ID, queue.StatusDelivered); err != nil {
		return err
	}
	status, err := s.orderStatus(ctx, s.order.OrderID)
	if err != nil {
		return err
	}
	s.print("order %d is %s", s.order.OrderID, status)
	mail := alice + ": Your order was shipped"
	return errors.Join(
		expect(status == "shipped", "the order is shipped, not %q", status),
		expect(slices.Contains(s.mail.mails(), mail), "the mail %q was sent; sent were %q", mail, s.mail.mails()),
	)
}

func (s *story) deadLetter(ctx context.Context) (err error) {
	s.title("An order whose customer cannot be notified: the task becomes a dead letter")
	if s.refused, err = s.shop.Place(ctx, mallet, "teapot", 5999); err != nil {
		return err
	}
	if _, err := await(ctx, s.box, Payments, s.refused.PaymentTask, queue.StatusDelivered); err != nil {
		return err
	}
	letter, err := s.awaitDeadLetter(ctx, Notifications.Name())
	if err != nil {
		return err
	}
	s.print("SELECT … FROM strunk_outbox WHERE status = 'dead' AND key = 'notifications': task %d, %q", letter.id,
		letter.lastError)
	record, err := Notifications.Get(ctx, s.box, letter.id)
	if err != nil {
		return err
	}
	return errors.Join(
		expect(record.Payload.OrderID == s.refused.OrderID, "the dead letter is of order %d, not of %d",
			s.refused.OrderID, record.Payload.OrderID),
		expect(record.Attempt == 2, "it was tried 2 times, not %d", record.Attempt),
		expect(letter.lastError == "no such domain", "its last error is the handler's, not %q", letter.lastError),
	)
}

func (s *story) orderStatus(ctx context.Context, id int64) (status string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT status FROM orders WHERE id = $1`, id).Scan(&status)
	return status, err
}

type counts struct{ orders, rows int }

func (s *story) counts(ctx context.Context) (c counts, err error) {
	err = s.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM orders), (SELECT count(*)
		FROM strunk_outbox)`).Scan(&c.orders, &c.rows)
	return c, err
}
