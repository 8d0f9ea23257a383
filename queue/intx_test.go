package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// ledger makes a table that handlers in a transaction write to.
func ledger(b *bed) {
	b.t.Helper()
	b.exec(`CREATE TABLE public.ledger (task bigint, attempt integer)`)
}

func write(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
	_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.ledger VALUES ($1, $2)`, task.ID, task.Attempt)
	return err
}

func TestInTxCommitsWithCompletion(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ledger(b)
	first, second := queue.Define[note]("first", queue.Config{}), queue.Define[note]("second", queue.Config{})
	followed := make(chan queue.Task[note], 1)
	id := put(b, first, note{"go on"})
	b.run(
		first.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
			if _, err := second.Enqueue(ctx, tx, note{"followed"}); err != nil {
				return err
			}
			return write(ctx, tx, task)
		}),
		second.Worker(func(_ context.Context, task queue.Task[note]) error { followed <- task; return nil }),
	)
	if task := receive(t, "the follow-up task", followed); task.Payload.Text != "followed" {
		t.Errorf("the follow-up's payload is %q", task.Payload.Text)
	}
	reach(b, first, id, queue.StatusDelivered)
	if n := value[int](b, `SELECT count(*) FROM public.ledger`); n != 1 {
		t.Errorf("%d rows were written; want 1", n)
	}
}

func TestInTxRollsBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		end          func() error
		want         queue.Status
	}{
		{"an error", "the attempt has failed", func() error { return errors.New("no") }, queue.StatusDead},
		{"a panic", "it is an error with a stack", func() error { panic("no") }, queue.StatusDead},
		{"a discard", "what is given up leaves nothing", func() error { return queue.Discard("no") },
			queue.StatusDiscarded},
		{"a snooze", "what is put off leaves nothing", func() error { return queue.Snooze(time.Hour) },
			queue.StatusScheduled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			ledger(b)
			q, follow := queue.Define[note]("q", queue.Config{MaxAttempts: 1}),
				queue.Define[note]("follow", queue.Config{})
			id := put(b, q, note{"x"})
			b.run(q.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
				if _, err := follow.Enqueue(ctx, tx, note{"never"}); err != nil {
					return err
				}
				if err := write(ctx, tx, task); err != nil {
					return err
				}
				return c.end()
			}))
			reach(b, q, id, c.want)
			if n := value[int](b, `SELECT (SELECT count(*) FROM public.ledger) + (SELECT count(*)
				FROM public.strunk_outbox WHERE key = 'follow')`); n != 0 {
				t.Errorf("%s: %d rows of the handler are left; want 0: %s", c.name, n, c.reason)
			}
		})
	}
}

// A worker that has lost its lease must not commit: the completion in its transaction finds the token gone.
func TestInTxIsFenced(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ledger(b)
	q := queue.Define[note]("fenced", queue.Config{})
	id := put(b, q, note{"x"})
	began, finish := make(chan int, 2), make(chan struct{})
	b.run(q.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
		if err := write(ctx, tx, task); err != nil {
			return err
		}
		began <- task.Attempt
		<-finish // whatever the context says
		return nil
	}))
	receive(t, "the first attempt", began)
	// The row is given to somebody else, as a rescue and another worker's claim do it.
	b.exec(`UPDATE public.strunk_outbox_tasks SET worker_id = 1, claim_no = 1 WHERE id = $1`, id)
	close(finish)
	eventually(t, "the attempt's outcome is refused", func() (string, bool) {
		return "", strings.Contains(b.logs.String(), queue.ErrLeaseLost.Error())
	})
	if n := value[int](b, `SELECT count(*) FROM public.ledger`); n != 0 {
		t.Errorf("a stale handler's writes were committed (%d rows)", n)
	}
}

// After a COMMIT whose answer is lost the task must neither be failed nor worked again.
func TestInTxLostCommitAnswer(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("kept as delivered %v", keep), func(t *testing.T) {
			t.Parallel()
			direct := newBed(t)
			ledger(direct)
			proxy := faults.NewProxy(t, outboxtest.DSN(direct.pool))
			dsn, err := proxy.DSN(outboxtest.DSN(direct.pool))
			if err != nil {
				t.Fatal(err)
			}
			b := bedOn(t, dial(t, dsn), outbox.Config{})
			q := queue.Define[note]("lost", queue.Config{DiscardDelivered: !keep, Retry: atOnce})
			id := put(direct, q, note{"x"})
			trap := proxy.Set("strunk_complete_or_fail", faults.CutBeforeAnswer)
			var runs atomic.Int64
			seen := make(chan error, 10)
			watch := queue.Middleware{Work: func(ctx context.Context, _ *queue.Incoming,
				next func(context.Context) error) error {
				err := next(ctx)
				seen <- err
				return err
			}}
			b.run(q.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
				runs.Add(1)
				return write(ctx, tx, task)
			}, watch))
			receive(t, "the answer to the COMMIT is cut off", trap.Sprung())
			eventually(t, "the task is gone from the active ones", func() (string, bool) {
				n := value[int](direct, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE id = $1`, id)
				return fmt.Sprint(n), n == 0
			})
			if err := receive(t, "the attempt ends", seen); keep && err != nil {
				t.Errorf("the attempt ended with %v, although its task is delivered", err)
			}
			if n := value[int](direct, `SELECT count(*) FROM public.ledger`); n != 1 || runs.Load() != 1 {
				t.Errorf("%d effects of %d runs; want 1 of 1", n, runs.Load())
			}
		})
	}
}

// A frozen or forgetful handler must not hold its locks beyond the lease.
func TestInTxIdleTransactionIsEnded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ledger(b)
	q := queue.Define[note]("idle", queue.Config{Retry: atOnce})
	id := put(b, q, note{"x"})
	b.run(q.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
		if task.Attempt > 1 {
			return write(ctx, tx, task)
		}
		limit := ""
		if err := tx.Pgx().QueryRow(ctx, `SHOW idle_in_transaction_session_timeout`).Scan(&limit); err != nil ||
			limit != "6s" {
			t.Errorf("idle_in_transaction_session_timeout is %q (%v); want three quarters of the lease", limit, err)
		}
		if err := write(ctx, tx, task); err != nil {
			return err
		}
		pid := tx.Pgx().Conn().PgConn().PID()
		eventually(t, "the server ends the idle transaction", func() (string, bool) {
			n := value[int](b, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid)
			return fmt.Sprint(n), n == 0
		})
		return nil
	}, queue.VisibilityTimeout(8*time.Second)))
	reach(b, q, id, queue.StatusDelivered)
	if got := value[string](b, `SELECT string_agg(attempt::text, ',') FROM public.ledger`); got != "2" {
		t.Errorf("the attempts that left something are %q; want the second alone", got)
	}
}

const (
	transfers = 160
	kills     = 20
)

type transfer struct{ Amount int }

var moves = queue.Define[transfer]("moves", queue.Config{MaxAttempts: 1000, Retry: atOnce})

// childMover moves money between two accounts until it is killed.
func childMover() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	fmt.Println("up")
	must(box.Run(ctx, moves.WorkerInTx(move, queue.VisibilityTimeout(2*time.Second), queue.Concurrency(4))))
}

// move is two statements, so that a kill can fall between them.
func move(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[transfer]) error {
	fmt.Println("moving")
	_, err := tx.Pgx().Exec(ctx, `UPDATE public.accounts SET cents = cents - $1 WHERE name = 'a'`, task.Payload.Amount)
	if err != nil {
		return err
	}
	_, err = tx.Pgx().Exec(ctx, `UPDATE public.accounts SET cents = cents + $1 WHERE name = 'b'`, task.Payload.Amount)
	return err
}

// However often the process is killed, every task's effect is there exactly once.
func TestInTxSurvivesKill(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE TABLE public.accounts (name text PRIMARY KEY, cents bigint)`)
	b.exec(`INSERT INTO public.accounts VALUES ('a', 0), ('b', 0)`)
	moved := 0
	add := func(n int) {
		amounts := make([]transfer, n)
		for i := range amounts {
			amounts[i].Amount = 1 + rand.IntN(1000)
			moved += amounts[i].Amount
		}
		b.in(func(tx *outbox.OwnedTx) error {
			_, err := moves.EnqueueBatch(context.Background(), tx, amounts)
			return err
		})
	}
	cents := func(name string) int { return value[int](b, `SELECT cents FROM public.accounts WHERE name = $1`, name) }

	for range kills {
		add(transfers / kills)
		child := faults.Spawn(t, "mover", "CHILD_DSN="+outboxtest.DSN(b.pool))
		child.Await(t, "moving", soon)
		time.Sleep(rand.N(20 * time.Millisecond)) // the moment of the kill is what is random here
		child.Kill()
	}
	last := faults.Spawn(t, "mover", "CHILD_DSN="+outboxtest.DSN(b.pool))
	eventually(t, "all transfers are done", func() (string, bool) {
		c := b.counts(moves.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == transfers/kills*kills && len(c) == 1
	})
	last.Kill()
	if from, to := cents("a"), cents("b"); from != -moved || to != moved {
		t.Errorf("after %d kills the accounts stand at %d and %d; want %d and %d", kills, from, to, -moved, moved)
	}
	if again := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'moves'
		AND attempts > 1`); again == 0 {
		t.Error("no kill hit a task under way: the test has shown nothing")
	}
}
