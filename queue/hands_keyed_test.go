package queue_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Whatever an operator does to a task of a key, nothing is left waiting, and no two of a FIFO key run at once.
func handEditsOfKeyedTasks(t *testing.T) {
	t.Parallel()
	const dead, pending = `UPDATE public.strunk_outbox SET status = 'dead', finished_at = clock_timestamp()
		WHERE id = $1`,
		`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprint("hold_dead ", hold), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("hands", queue.Config{Limits: queue.Limits{FIFO: true, HoldDead: hold}})
			ids := putKeys(b, q, "k", "k", "k")
			record := newRecord()
			began, release := make(chan int64, 10), make(chan struct{})
			b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
				record.begin(task.CustomerKey, task.ID)
				defer record.end(task.CustomerKey)
				began <- task.ID
				<-release
				return nil
			}))
			receive(t, "the first runs", began)
			b.exec(dead, ids[1]) // it waits
			b.exec(pending, ids[1])
			b.exec(dead, ids[2])
			if n, err := queue.RetryDead(context.Background(), b.box,
				outbox.DeadFilter{IDs: []int64{ids[2]}}); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			close(release)
			for _, id := range ids {
				reach(b, q, id, queue.StatusDelivered)
			}
			record.check(t, map[string][]int64{"k": ids})
		})
	}
	t.Run("of a task that holds the slot", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("hands-slot", queue.Config{})
		b.exec(`SELECT public.strunk_set_limits('hands-slot', fifo => true)`)
		ids := putKeys(b, q, "k", "k")
		_, got := claimIDs(b, q)
		wantIDs(t, "the first", got, ids[0])
		b.exec(dead, ids[0])
		second, got := claimIDs(b, q)
		wantIDs(t, "the second, for the first was made a dead letter", got, ids[1])
		b.exec(pending, ids[0])
		_, got = claimIDs(b, q)
		wantIDs(t, "while the second runs", got)
		if err := second.Complete(t.Context(), ids[1]); err != nil {
			t.Fatal(err)
		}
		_, got = claimIDs(b, q)
		wantIDs(t, "after the second", got, ids[0])
	})
	t.Run("in an open transaction", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("hands-open", queue.Config{})
		b.exec(`SELECT public.strunk_set_limits('hands-open', fifo => true, hold_dead => true)`)
		ids := putKeys(b, q, "k", "k")
		c, got := claimIDs(b, q)
		wantIDs(t, "the first", got, ids[0])
		if err := c.Fail(t.Context(), ids[0], fmt.Errorf("no: %w", queue.ErrPoison)); err != nil {
			t.Fatal(err)
		}
		person := begin(b, pgx.ReadCommitted)
		if _, err := person.Pgx().Exec(t.Context(), pending, ids[0]); err != nil {
			t.Fatal(err)
		}
		other := putKeys(b, q, "other")
		_, got = claimIDs(b, q) // the queue does not stand still
		wantIDs(t, "of another key", got, other[0])
		if err := person.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
		_, got = claimIDs(b, q)
		wantIDs(t, "the first again", got, ids[0])
	})
}
