package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func open(t *testing.T) (*pgxpool.Pool, *outbox.Box) {
	t.Helper()
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), `CREATE TABLE public.effects (message text)`); err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return pool, box
}

// handle is one delivery of a message.
func handle(ctx context.Context, box *outbox.Box, consumer, message string, after func() error) (ran bool, err error) {
	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		ran, err = inbox.Once(ctx, tx, consumer, message, func(ctx context.Context) error {
			if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ($1)`, message); err != nil {
				return err
			}
			return after()
		})
		return err
	})
	return ran, err
}

func fine() error { return nil }

func effects(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM public.effects`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInboxOnceRunsOnce(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	for i, want := range []bool{true, false, false} {
		if ran, err := handle(t.Context(), box, "billing", "evt_1", fine); ran != want || err != nil {
			t.Errorf("delivery %d: ran %v, %v; want %v", i+1, ran, err, want)
		}
	}
	if ran, err := handle(t.Context(), box, "audit", "evt_1", fine); !ran || err != nil {
		t.Errorf("another consumer: ran %v, %v; want its own run", ran, err)
	}
	if n := effects(t, pool); n != 2 {
		t.Errorf("%d effects; want one for each consumer", n)
	}
}

// Deliveries of one message at the same moment wait for each other.
func TestInboxOnceConcurrently(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := handle(t.Context(), box, "billing", "evt_1", fine); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := effects(t, pool); n != 1 {
		t.Errorf("%d effects of 8 deliveries at once; want 1", n)
	}
}

// A failed run leaves neither effect nor mark, and the transaction usable.
func TestInboxOnceUndoesAFailure(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	no := errors.New("no")
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := inbox.Once(t.Context(), tx, "billing", "evt_1", func(ctx context.Context) error {
			if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ('half')`); err != nil {
				return err
			}
			_, _ = tx.Pgx().Exec(ctx, `SELECT 1/0`) // the server has aborted the transaction
			return no
		})
		if !errors.Is(err, no) {
			t.Errorf("error %v; want the function's own", err)
		}
		return nil // committed all the same
	})
	if err != nil {
		t.Fatalf("the transaction was not usable after the failure: %v", err)
	}
	if n := effects(t, pool); n != 0 {
		t.Errorf("%d effects of the failed run", n)
	}
	if ran, err := handle(t.Context(), box, "billing", "evt_1", fine); !ran || err != nil {
		t.Errorf("the next delivery: ran %v, %v; want a run", ran, err)
	}
}

func TestInboxOnceInBorrowedTransactions(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	db, err := sql.Open("pgx", outboxtest.DSN(pool))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for i, want := range []bool{true, false} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ran, err := inbox.Once(t.Context(), box.SQLTx(tx), "billing", "evt_1",
			func(context.Context) error { return nil })
		if ran != want || err != nil {
			t.Errorf("delivery %d: ran %v, %v; want %v", i+1, ran, err, want)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInboxOnceChecksItsArguments(t *testing.T) {
	t.Parallel()
	_, box := open(t)
	for _, c := range []struct{ name, consumer, message, reason string }{
		{"no consumer", "", "m", "the consumer's name"},
		{"no message id", "c", "", "the message id"},
		{"a long message id", "c", strings.Repeat("m", 501), "it stands in an index"},
		{"a NUL", "c", "a\x00b", "PostgreSQL stores none"},
	} {
		err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := inbox.Once(t.Context(), tx, c.consumer, c.message, func(context.Context) error { return nil })
			return err
		})
		if !errors.Is(err, inbox.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid: %s", c.name, err, c.reason)
		}
	}
	if _, err := inbox.Once(t.Context(), nil, "c", "m", nil); !errors.Is(err, outbox.ErrInvalidTx) {
		t.Errorf("a nil transaction: %v", err)
	}
}

// Retention takes old marks, and leaves those of tasks that can still be handled again.
func TestInboxOnceMarksAreSwept(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	if _, err := handle(t.Context(), box, "billing", "old", fine); err != nil {
		t.Fatal(err)
	}
	_, err := pool.Exec(t.Context(), `
		UPDATE public.strunk_inbox SET handled_at = now() - interval '8 days';
		INSERT INTO public.strunk_inbox (consumer, message_id, task_id, handled_at)
		SELECT 'worker', 'task:' || e, e, now() - interval '8 days' FROM public.strunk_enqueue('q') e;
		INSERT INTO public.strunk_inbox (consumer, message_id, task_id, handled_at)
		SELECT 'dead', 'task:' || e, e, now() - interval '8 days' FROM public.strunk_enqueue('dead') e;
		UPDATE public.strunk_outbox SET status = 'dead', finished_at = now() WHERE key = 'dead';
		INSERT INTO public.strunk_inbox (consumer, message_id, task_id, handled_at) VALUES ('worker', 'task:0',
		0, now() - interval '8 days')`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handle(t.Context(), box, "billing", "new", fine); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `SELECT public.strunk_reap_marks('7 days', '1 day', 100)`); err != nil {
		t.Fatal(err)
	}
	var left string
	if err := pool.QueryRow(t.Context(), `SELECT string_agg(consumer || CASE WHEN message_id = 'new' THEN ' new'
		ELSE '' END, ', ' ORDER BY consumer) FROM public.strunk_inbox`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if want := "billing new, dead, worker"; left != want {
		t.Errorf("marks that are left: %s; want %s: those of the active task and of the dead letter, and the new one",
			left, want)
	}
}

// A webhook may be sent again: its id makes the second delivery a no-op.
func ExampleOnce() {
	ctx := context.Background()
	box, end := exampleBox(ctx)
	defer end()
	deliver := func(eventID string) {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			ran, err := inbox.Once(ctx, tx, "billing", eventID, func(ctx context.Context) error {
				fmt.Println("booking", eventID)
				return nil // business SQL through tx.Pgx(), tasks and events through tx
			})
			if err == nil && !ran {
				fmt.Println("seen before:", eventID)
			}
			return err
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	deliver("evt_1")
	deliver("evt_1")
	// Output:
	// booking evt_1
	// seen before: evt_1
}

// TestInboxOnceInsideOnce fails within, and then around it, in a transaction that commits: neither
// mark nor write is left.
func TestInboxOnceInsideOnce(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	failed := errors.New("failed")
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := inbox.Once(t.Context(), tx, "billing", "outer", func(ctx context.Context) error {
			if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ('outer')`); err != nil {
				return err
			}
			if _, err := inbox.Once(ctx, tx, "billing", "inner",
				func(context.Context) error { return failed }); !errors.Is(err, failed) {
				t.Errorf("the inner Once: %v; want %v", err, failed)
			}
			return failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("the outer Once: %v; want %v", err, failed)
		}
		return nil
	})
	if err != nil || effects(t, pool) != 0 {
		t.Errorf("%d writes are left, %v; want none", effects(t, pool), err)
	}
	if ran, err := handle(t.Context(), box, "billing", "outer", fine); err != nil || !ran {
		t.Errorf("the message again: ran %t, %v; want true", ran, err)
	}
}
