package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// psql runs SQL as a person at psql would: with the default search_path, nothing qualified.
func (b *bed) psql(sql string) [][]any {
	b.t.Helper()
	conn, err := pgx.Connect(context.Background(), outboxtest.DSN(b.pool))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), `SET search_path = "$user", public`); err != nil {
		b.t.Fatal(err)
	}
	rows, _ := conn.Query(context.Background(), sql)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return all
}

// The two statements of the specification, as they are written there.
func TestDeadLettersByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("email-queue", queue.Config{MaxAttempts: 1})
	other := queue.Define[note]("other", queue.Config{})
	var broken atomic.Bool
	broken.Store(true)
	var worked atomic.Int64
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if broken.Load() {
			return errors.New("the mail server is away")
		}
		worked.Add(1)
		return nil
	}))
	plain := put(b, q, note{"plain"}, queue.Priority(7))
	keyed := put(b, q, note{"keyed"}, queue.DedupKey("k"))
	both := put(b, q, note{"both"}, queue.DedupKey("both"))
	for _, id := range []int64{plain, keyed, both} {
		reach(b, q, id, queue.StatusDead)
	}
	twin := put(b, q, note{"twin"}, queue.DedupKey("both"))
	reach(b, q, twin, queue.StatusDead)
	put(b, other, note{"not this one"})
	if rows := b.psql(`SELECT * FROM strunk_outbox WHERE status = 'dead' AND key = 'email-queue';`); len(rows) != 4 {
		t.Errorf("%d dead letters; want 4", len(rows))
	}

	broken.Store(false)
	b.psql(fmt.Sprintf(`UPDATE strunk_outbox SET status = 'pending', attempts = 0 WHERE id = %d;`, plain))
	rec := reach(b, q, plain, queue.StatusDelivered)
	if rec.Attempt != 1 || rec.Priority != 7 || rec.Payload.Text != "plain" || len(rec.Attempts) != 1 {
		t.Errorf("%+v; want attempt 1 of the same task, its history kept", rec)
	}

	// Another task holds the key by now: the revived one gives it up, and is worked all the same.
	holder := put(b, q, note{"holder"}, queue.DedupKey("k"), queue.Delay(time.Hour))
	b.psql(fmt.Sprintf(`UPDATE strunk_outbox SET status = 'pending', attempts = 0 WHERE id = %d;`, keyed))
	if rec := reach(b, q, keyed, queue.StatusDelivered); rec.DedupKey != "" {
		t.Errorf("the revived task kept the key %q, which task %d holds", rec.DedupKey, holder)
	}
	if rec := get(b, q, holder); rec.Status != queue.StatusScheduled || rec.DedupKey != "k" {
		t.Errorf("the holder is %s with key %q; want it untouched", rec.Status, rec.DedupKey)
	}
	// Two dead letters of one key at once: one of them takes it.
	b.psql(fmt.Sprintf(`UPDATE strunk_outbox SET status = 'pending', attempts = 0 WHERE id IN (%d, %d);`, both, twin))
	for _, id := range []int64{both, twin} {
		reach(b, q, id, queue.StatusDelivered)
	}
	if n := worked.Load(); n != 4 {
		t.Errorf("%d tasks were worked; want 4", n)
	}
}

// A task that is revived while its priority's marks are far beyond is found: it draws a new number.
func TestRevivedTaskIsBeyondTheMarks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("revived", queue.Config{MaxAttempts: 1})
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "dies" && task.DedupKey == "" {
			return errors.New("no")
		}
		return nil
	}))
	id := put(b, q, note{"dies"})
	reach(b, q, id, queue.StatusDead)
	ids := putMany(b, q, 300)
	reach(b, q, ids[299], queue.StatusDelivered)
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0, dedup_key = 'now' WHERE id = $1`, id)
	reach(b, q, id, queue.StatusDelivered)
}

// A person moves a row through the root while a batch that it is part of is completed: PostgreSQL
// fails the whole statement with 40001 once the person commits. It is retried; nothing is lost, and
// only that row's outcome is refused.
func TestHandMadeUpdateBesideACompletion(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const tasks, movedAttempts = 50, 7
	moves := []struct {
		name, sql string
		want      queue.Status
	}{
		{"to the dead letters", `UPDATE public.strunk_outbox SET status = 'dead',
			finished_at = clock_timestamp() WHERE id = $1`, queue.StatusDead},
		{"to the delivered ones", `UPDATE public.strunk_outbox SET status = 'delivered',
			finished_at = clock_timestamp() WHERE id = $1`, queue.StatusDelivered},
		{"back to pending, in place", fmt.Sprintf(`UPDATE public.strunk_outbox SET status = 'pending', due_at = NULL,
			attempts = %d WHERE id = $1`, movedAttempts), queue.StatusPending},
	}
	for i, move := range moves {
		q := queue.Define[note](fmt.Sprint("by-hand-", i), queue.Config{})
		ids := putMany(b, q, tasks)
		began, finish := make(chan struct{}, tasks), make(chan struct{})
		stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error {
			began <- struct{}{}
			<-finish
			return nil
		}, queue.Concurrency(tasks)))
		for range tasks {
			receive(t, "all handlers run", began)
		}
		person := begin(b, pgx.ReadCommitted)
		if _, err := person.Pgx().Exec(t.Context(), move.sql, ids[tasks/2]); err != nil {
			t.Fatal(err)
		}
		close(finish)
		eventually(t, "the completion waits for the person", func() (string, bool) {
			n := value[int](b, `SELECT count(*) FROM pg_stat_activity
				WHERE $1 = ANY (pg_blocking_pids(pid))`, person.Pgx().Conn().PgConn().PID())
			return fmt.Sprint(n), n > 0
		})
		if err := person.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		for i, id := range ids {
			want := queue.StatusDelivered
			if i == tasks/2 {
				want = move.want
			}
			rec := get(b, q, id)
			// What is pending again may have been worked before the stop: as an attempt that came after the move.
			again := want == queue.StatusPending && rec.Status == queue.StatusDelivered &&
				rec.Attempt == movedAttempts+1
			if rec.Status != want && !again {
				t.Errorf("moved %s: task %d of %d is %s after attempt %d; want %s",
					move.name, i+1, tasks, rec.Status, rec.Attempt, want)
			}
		}
		if !strings.Contains(b.logs.String(), fmt.Sprintf("task=%d", ids[tasks/2])) {
			t.Errorf("moved %s: the refused outcome is not logged", move.name)
		}
	}
}

// Rows that a person moves as fast as psql can, while many workers complete.
func TestHandMadeUpdatesInAHurry(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hurry", queue.Config{})
	const tasks = 800
	putMany(b, q, tasks)
	var handled atomic.Int64
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { handled.Add(1); return nil }, queue.Concurrency(8)))
	moved := 0
	for handled.Load() < tasks-200 {
		tag, err := b.pool.Exec(t.Context(), `UPDATE public.strunk_outbox SET status = 'dead',
			finished_at = clock_timestamp()
			WHERE id IN (SELECT id FROM public.strunk_outbox_tasks WHERE status = 'claimed' ORDER BY id DESC
			OFFSET 3 LIMIT 3) AND status = 'claimed'`)
		if err != nil {
			continue // it is the person's turn to lose
		}
		moved += int(tag.RowsAffected())
	}
	eventually(t, "every task is delivered or where the person put it", func() (string, bool) {
		counts := b.counts(q.Name())
		return fmt.Sprint(counts), counts[queue.StatusDelivered]+counts[queue.StatusDead] == tasks
	})
	if counts := b.counts(q.Name()); counts[queue.StatusDead] != moved {
		t.Errorf("%v after %d rows were moved by hand; want as many dead letters", counts, moved)
	}
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE status = 'dead'`)
	eventually(t, "what the person revived is delivered too", func() (string, bool) {
		counts := b.counts(q.Name())
		return fmt.Sprint(counts), counts[queue.StatusDelivered] == tasks
	})
}

// Handlers that use up the pool, or a pool of one connection, delay completions but no heartbeat.
func TestHeartbeatsWhileHandlersExhaustThePool(t *testing.T) {
	t.Parallel()
	const lease = 8 * time.Second // long against the pauses of a busy machine
	for _, row := range []struct {
		name, reason string
		conns        int32
		concurrency  int
	}{
		{"a small pool", "each handler holds a connection for longer than the lease", 3, 3},
		{"a pool of one", "the claim, the handler and the completion take turns", 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			near := newBed(t)
			far := bedOn(t, dial(t, outboxtest.DSN(near.pool)+fmt.Sprintf("&pool_max_conns=%d", row.conns)),
				outbox.Config{})
			q := queue.Define[note]("pool", queue.Config{})
			ids := putMany(near, q, 2*row.concurrency)
			errs := make(chan error, len(ids)*4)
			near.run() // a rescue that watches
			far.run(q.Worker(func(ctx context.Context, _ queue.Task[note]) error {
				_, err := far.pool.Exec(ctx, `SELECT pg_sleep($1)`, (lease * 3 / 2).Seconds())
				errs <- err
				return err
			}, queue.Concurrency(row.concurrency), queue.VisibilityTimeout(lease)))
			for _, id := range ids {
				if rec := reach(near, q, id, queue.StatusDelivered); rec.Attempt != 1 {
					t.Errorf("task %d took %d attempts (%+v); want 1 (%s)", id, rec.Attempt, rec.Attempts, row.reason)
				}
			}
			for range ids {
				if err := <-errs; err != nil {
					t.Errorf("a handler: %v", err)
				}
			}
		})
	}
}

// A delivered row keeps what there is to know.
func TestHistoryIsKeptUnlessDiscarded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	keep, discard := queue.Define[note]("keep", queue.Config{}),
		queue.Define[note]("discard", queue.Config{DiscardDelivered: true})
	handle := func(context.Context, queue.Task[note]) error { return nil }
	kept, discarded := put(b, keep, note{"a"}), put(b, discard, note{"b"})
	b.run(keep.Worker(handle), discard.Worker(handle))
	if rec := reach(b, keep, kept, queue.StatusDelivered); rec.Payload.Text != "a" ||
		rec.FinishedAt.Before(rec.ClaimedAt) || rec.ClaimedAt.Before(rec.CreatedAt) {
		t.Errorf("%+v; want the payload, and times in order", rec)
	}
	eventually(t, "the other is gone", func() (string, bool) {
		_, err := discard.Get(t.Context(), b.box, discarded)
		return fmt.Sprint(err), errors.Is(err, queue.ErrNotFound)
	})
}
