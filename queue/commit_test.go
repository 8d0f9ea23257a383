package queue_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// However a transaction ends without a commit, nothing of its tasks is left, nobody is woken and no handler runs.
func TestRollbackLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("rollback", queue.Config{})
	errUndo := errors.New("undo")
	db, err := sql.Open("pgx", outboxtest.DSN(b.pool))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })

	enqueue := func(tx outbox.Tx) {
		t.Helper()
		ctx := t.Context()
		if _, err := q.Enqueue(ctx, tx, note{"one"}); err != nil {
			t.Error(err)
		}
		if _, err := q.Enqueue(ctx, tx, note{"keyed"}, queue.DedupKey("k"), queue.Delay(time.Millisecond)); err != nil {
			t.Error(err)
		}
		if _, err := q.EnqueueBatch(ctx, tx, []note{{"two"}, {"three"}}); err != nil {
			t.Error(err)
		}
	}
	var handled atomic.Int64
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text != "the end" {
			handled.Add(1)
		}
		return nil
	}))

	for _, way := range []struct {
		name, reason string
		try          func(t *testing.T)
	}{
		{"InTx returns an error", "the usual way", func(t *testing.T) {
			err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
				tx.AfterCommit(func() { t.Error("a hook ran after a rollback") })
				enqueue(tx)
				return errUndo
			})
			if err != errUndo {
				t.Errorf("InTx returned %v; want fn's error as it is", err)
			}
		}},
		{"InTx panics", "a bug in the business code", func(t *testing.T) {
			defer func() {
				if r := recover(); r != errUndo {
					t.Errorf("recovered %v; want the panic to pass through", r)
				}
			}()
			_ = b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error { enqueue(tx); panic(errUndo) })
		}},
		{"Begin and Rollback", "the caller's own control flow", func(t *testing.T) {
			tx, err := b.box.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			enqueue(tx)
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			_, err = q.Enqueue(t.Context(), tx, note{"late"})
			wantError(t, err, outbox.ErrTxDone, "strunk/queue: enqueue")
			wantError(t, tx.Commit(t.Context()), outbox.ErrTxDone)
			if err := tx.Rollback(t.Context()); err != nil {
				t.Errorf("a second rollback: %v; want nil", err)
			}
		}},
		{"the caller's pgx transaction", "borrowed: strunk neither commits nor rolls back", func(t *testing.T) {
			tx, err := b.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			enqueue(b.box.Tx(tx))
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"a savepoint", "only a part is undone", func(t *testing.T) {
			b.in(func(tx *outbox.OwnedTx) error {
				inner, err := tx.Pgx().Begin(t.Context())
				if err != nil {
					return err
				}
				enqueue(b.box.Tx(inner))
				return inner.Rollback(t.Context())
			})
		}},
		{"the caller's database/sql transaction", "GORM, sqlx, bun and ent are the same", func(t *testing.T) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			enqueue(b.box.SQLTx(tx))
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
		}},
		{"the connection breaks", "no process lives for ever", func(t *testing.T) {
			tx, err := b.box.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			enqueue(tx)
			b.exec(`SELECT pg_terminate_backend($1)`, tx.Pgx().Conn().PgConn().PID())
			if err := tx.Commit(t.Context()); err == nil {
				t.Error("the commit over a broken connection succeeded")
			}
		}},
		{"the commit fails", "a deferred constraint", func(t *testing.T) {
			tx, err := b.box.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			enqueue(tx)
			tx.AfterCommit(func() { t.Error("a hook ran after a failed commit") })
			if _, err := tx.Pgx().Exec(t.Context(), `SELECT 1/0`); err == nil {
				t.Error("1/0 succeeded")
			}
			if err := tx.Commit(t.Context()); err == nil {
				t.Error("the commit of a failed transaction succeeded")
			}
		}},
	} {
		t.Run(way.name, way.try)
		if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox`); n != 0 {
			t.Errorf("%s: %d rows are left; want 0 (%s)", way.name, n, way.reason)
		}
	}
	last := put(b, q, note{"the end"})
	reach(b, q, last, queue.StatusDelivered)
	if n := handled.Load(); n != 0 {
		t.Errorf("%d tasks of rolled-back transactions were handled; want 0", n)
	}
}

// A claim whose rows have reached the client may still fail to commit: its handlers must not have begun.
func TestNoHandlerBeforeClaimCommits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("commit", queue.Config{})
	const lock = 4711
	// At the commit of a claim the trigger waits for the test, and fails the first one.
	b.exec(`CREATE TABLE public.verdicts (refuse boolean NOT NULL)`)
	b.exec(`INSERT INTO public.verdicts VALUES (true)`)
	b.exec(`CREATE FUNCTION public.judge() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock(4711);
			IF (SELECT refuse FROM public.verdicts) THEN RAISE EXCEPTION 'the commit is refused'; END IF;
			RETURN NULL;
		END $$`)
	b.exec(`CREATE CONSTRAINT TRIGGER judge AFTER UPDATE ON public.strunk_outbox_tasks DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.status = 'claimed' AND OLD.status = 'pending') EXECUTE FUNCTION public.judge()`)

	judge, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer judge.Release()
	hold := func(sql string) {
		t.Helper()
		if _, err := judge.Exec(context.Background(), sql, lock); err != nil {
			t.Fatal(err)
		}
	}
	hold(`SELECT pg_advisory_lock($1)`)

	// More than the server's output buffer, so that rows are on the wire before the COMMIT is executed.
	id := put(b, q, note{strings.Repeat("x", 100_000)})
	began := make(chan queue.Task[note], 10)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { began <- task; return nil }))
	waiting := func() {
		t.Helper()
		eventually(t, "a claim waits in its COMMIT", func() (string, bool) {
			n := value[int](b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
				AND wait_event = 'advisory' AND query = 'COMMIT'`)
			return fmt.Sprint(n), n == 1
		})
		select {
		case task := <-began:
			t.Fatalf("the handler of task %d began before its claim was committed", task.ID)
		case <-time.After(200 * time.Millisecond): // long enough for a handler that was handed the rows
		}
	}
	waiting()
	hold(`SELECT pg_advisory_unlock($1)`) // refused
	eventually(t, "the claim has failed", func() (string, bool) {
		return b.logs.String(), strings.Contains(b.logs.String(), "the commit is refused")
	})
	if rec := get(b, q, id); rec.Attempt != 0 {
		t.Errorf("after a claim that was not committed the task counts %d attempts; want 0", rec.Attempt)
	}
	hold(`SELECT pg_advisory_lock($1)`)
	waiting()
	b.exec(`UPDATE public.verdicts SET refuse = false`)
	hold(`SELECT pg_advisory_unlock($1)`)
	if task := receive(t, "the handler begins after the commit", began); task.Attempt != 1 {
		t.Errorf("attempt %d; want 1", task.Attempt)
	}
	reach(b, q, id, queue.StatusDelivered)
}
