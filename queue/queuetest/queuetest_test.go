package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

type order struct{ ID int }

var (
	orders   = queue.Define[order]("orders", queue.Config{MaxAttempts: 3, Retry: queue.Backoff{First: time.Minute}})
	invoices = queue.Define[order]("invoices", queue.Config{})
)

func open(t *testing.T) *outbox.Box {
	t.Helper()
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), `CREATE TABLE public.booked (id integer)`); err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// book writes, enqueues a follow-up task, and fails for some orders.
func book(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[order]) error {
	if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.booked VALUES ($1)`, task.Payload.ID); err != nil {
		return err
	}
	if _, err := invoices.Enqueue(ctx, tx, task.Payload, queue.Priority(2)); err != nil {
		return err
	}
	if task.Payload.ID < 0 {
		return errors.New("no such order")
	}
	return nil
}

func TestWorkInARolledBackTransaction(t *testing.T) {
	t.Parallel()
	box := open(t)
	t.Run("the test", func(t *testing.T) {
		tx := queuetest.RollBack(t, box)
		if got := queuetest.Work(t, tx, orders.WorkerInTx(book),
			order{ID: -1}); got.Status != queue.StatusScheduled || got.Err == nil || got.Delay == 0 || got.Unspent {
			t.Errorf("a failure: %+v", got)
		}
		queuetest.RequireNone(t, tx, invoices)
		if got := queuetest.Work(t, tx, orders.WorkerInTx(book), order{ID: 7}); got.Status != queue.StatusDelivered ||
			got.Err != nil {
			t.Errorf("a success: %+v", got)
		}
		if task := queuetest.RequireEnqueued(t, tx, invoices, order{ID: 7}); task.Priority != 2 {
			t.Errorf("the follow-up has priority %d", task.Priority)
		}
		queuetest.RequireNone(t, tx, orders)
	})
	var left int
	if err := box.Pool().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM public.booked) + (SELECT count(*)
		FROM public.strunk_outbox)`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left after the test, %v", left, err)
	}
}

func TestWorkTellsOutcomes(t *testing.T) {
	t.Parallel()
	tx := queuetest.RollBack(t, open(t))
	for _, c := range []struct {
		name, reason string
		handler      queue.Handler[order]
		opts         []queue.EnqueueOption
		want         queue.Status
		unspent      bool
	}{
		{"success", "nil", func(context.Context, queue.Task[order]) error { return nil }, nil, queue.StatusDelivered,
			false},
		{"last attempt", "none is left", queuetest.Failing[order](1, errors.New("no"), nil),
			[]queue.EnqueueOption{queue.MaxAttempts(1)}, queue.StatusDead, false},
		{"panic", "an error like any", func(context.Context, queue.Task[order]) error { panic("no") }, nil,
			queue.StatusScheduled, false},
		{"snooze", "no attempt is spent", func(context.Context,
			queue.Task[order]) error {
			return queue.Snooze(time.Hour)
		}, nil, queue.StatusScheduled, true},
		{"discard", "it ends at once", func(context.Context, queue.Task[order]) error { return queue.Discard("no") },
			nil, queue.StatusDiscarded, false},
		{"time-out", "the handler is too slow", queuetest.Slow[order](time.Hour, nil),
			[]queue.EnqueueOption{queue.Timeout(time.Millisecond)}, queue.StatusScheduled, false},
	} {
		got := queuetest.Work(t, tx, orders.Worker(c.handler), order{ID: 1}, c.opts...)
		if got.Status != c.want || got.Unspent != c.unspent || (got.Err == nil) != (c.want == queue.StatusDelivered) {
			t.Errorf("%s: %+v; want %s: %s", c.name, got, c.want, c.reason)
		}
	}
	sums := queue.DefineWithResult[order, int]("sums", queue.Config{})
	got := queuetest.Work(t, tx, sums.Worker(func(_ context.Context, task queue.Task[order]) (int,
		error) {
		return task.Payload.ID * 2, nil
	}), order{ID: 21})
	if string(got.Result) != "42" {
		t.Errorf("result %s", got.Result)
	}
}

func TestDrainWorksUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	box := open(t)
	quick := queue.Define[order]("quick", queue.Config{Retry: queue.Backoff{First: time.Millisecond}})
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := quick.EnqueueBatch(t.Context(), tx, make([]order, 20))
		if err == nil {
			_, err = quick.Enqueue(t.Context(), tx, order{}, queue.Delay(time.Hour))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	queuetest.Drain(t, box, quick.Worker(queuetest.Failing(3, errors.New("no"),
		queuetest.Slow[order](time.Millisecond, nil))))
	var counts string
	if err := box.Pool().QueryRow(t.Context(), `SELECT string_agg(status || ' ' || n, ', ' ORDER BY status)
		FROM (SELECT status, count(*) AS n FROM public.strunk_outbox GROUP BY status) c`).Scan(&counts); err != nil {
		t.Fatal(err)
	}
	if want := "delivered 20, scheduled 1"; counts != want {
		t.Errorf("%s; want %s", counts, want)
	}
}

// A queue without tasks is drained at once: its workers are stopped while they start.
func TestDrainOfAnEmptyQueue(t *testing.T) {
	t.Parallel()
	box := open(t)
	for range 5 {
		queuetest.Drain(t, box, orders.Worker(queuetest.Failing[order](0, nil, nil)))
	}
}

// spy is a testing.TB that only takes down whether it was failed.
type spy struct {
	testing.TB
	said string
}

func (s *spy) Helper() {}
func (s *spy) Fatalf(format string, args ...any) {
	s.said = fmt.Sprintf(format, args...)
	panic(s)
}

func TestRequireEnqueuedSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	tx := queuetest.RollBack(t, open(t))
	if _, err := invoices.Enqueue(t.Context(), tx, order{ID: 1}); err != nil {
		t.Fatal(err)
	}
	s := &spy{TB: t}
	func() {
		defer func() { _ = recover() }()
		queuetest.RequireEnqueued(s, tx, invoices, order{ID: 2})
	}()
	if want := `queue "invoices": 0 tasks wait with the payload {"ID":2}; want 1. Others:` +
		"\n  task"; len(s.said) < len(want) || s.said[:len(want)] != want {
		t.Errorf("it said %q", s.said)
	}
}

func TestWorkShowsTheKeys(t *testing.T) {
	t.Parallel()
	box := open(t)
	tx := queuetest.RollBack(t, box)
	var got queue.Task[order]
	worker := orders.Worker(func(_ context.Context, task queue.Task[order]) error { got = task; return nil })
	queuetest.Work(t, tx, worker, order{ID: 1}, queue.CustomerKey("customer-42"), queue.DedupKey("once"))
	if got.CustomerKey != "customer-42" || got.DedupKey != "once" {
		t.Errorf("the handler sees the key %q and the dedup key %q", got.CustomerKey, got.DedupKey)
	}
}

// A retry policy that panics fails the attempt, as in a worker, with the default backoff.
func TestWorkWithARetryPolicyThatPanics(t *testing.T) {
	t.Parallel()
	tx := queuetest.RollBack(t, open(t))
	policy := queue.RetryFunc(func(int, error) time.Duration { panic("no policy") })
	worker := orders.Worker(func(context.Context, queue.Task[order]) error { return errors.New("no") },
		queue.Retry(policy))
	got := queuetest.Work(t, tx, worker, order{ID: 1})
	if got.Status != queue.StatusScheduled || got.Err == nil || got.Err.Error() != "no" {
		t.Errorf("%+v; want another attempt after the handler's error", got)
	}
	if low, high := 700*time.Millisecond, 1300*time.Millisecond; got.Delay < low || got.Delay > high {
		t.Errorf("the next attempt is in %v; want the default backoff of about a second", got.Delay)
	}
}

// A step that Config.Steps does not declare fails in a test as it would fail in a worker.
func TestWorkRefusesUndeclaredSteps(t *testing.T) {
	t.Parallel()
	q := queue.Define[order]("steps", queue.Config{Steps: []string{"charge"}})
	box := open(t)
	work := func(step string) queuetest.Outcome {
		worker := q.Worker(func(ctx context.Context, _ queue.Task[order]) error {
			_, err := queue.Step(ctx, step, func(context.Context) (int, error) { return 1, nil })
			return err
		})
		return queuetest.Work(t, queuetest.RollBack(t, box), worker, order{})
	}
	if got := work("charge"); got.Status != queue.StatusDelivered {
		t.Errorf("a declared step: %+v", got)
	}
	if got := work("change"); !errors.Is(got.Err, queue.ErrInvalid) {
		t.Errorf("a step that is not declared: %+v; want ErrInvalid", got)
	}
}
