package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// childBatched is a process that works the members of batches: some fail, some give up, some add another member.
func childBatched() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	q := queue.Define[note]("batched", queue.Config{Retry: atOnce, MaxAttempts: 2, Outcomes: "mail-outcome"})
	fmt.Println("up")
	must(box.Run(ctx, q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
		switch rand.IntN(6) {
		case 0:
			return errors.New("at random")
		case 1:
			return queue.Discard("at random")
		case 2:
			if task.Payload.Text == "added" {
				return nil
			}
			batch, err := queue.BatchOf(ctx, box, task.ID)
			if err != nil {
				return err
			}
			return box.InTx(ctx, func(tx *outbox.OwnedTx) error {
				_, err := q.Enqueue(ctx, tx, note{"added"}, queue.InBatch(batch))
				return err
			})
		}
		return nil
	}, queue.VisibilityTimeout(toTheKill), queue.Concurrency(4))))
}

// Three processes work a batch while some are killed and one is frozen and wakes again. In the end the counts are those
// of the table, and the follow-up has come once.
func TestBatchCountsExactly(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run() // the rescue
	q := queue.Define[note]("batched", queue.Config{MaxAttempts: 2})
	reports := queue.Define[note]("reports", queue.Config{})
	var children []*faults.Child
	spawn := func() {
		c := faults.Spawn(t, "batched", "CHILD_DSN="+outboxtest.DSN(b.pool))
		c.Await(t, "up", soon)
		children = append(children, c)
	}
	for range 3 {
		spawn()
	}
	batch, _ := newBatch(b, q, make([]string, 300), false, queue.FollowUp(reports.Item(note{})))
	other, _ := newBatch(b, q, make([]string, 100), false)
	awaitEnded := func(n int64) {
		eventually(t, fmt.Sprintf("%d members have ended", n), func() (string, bool) {
			s := batchState(b, batch)
			return fmt.Sprintf("%+v", s), s.Ended() >= n
		})
	}
	awaitEnded(20)
	if err := children[0].Freeze(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	takeLease(b, children[0])
	for i := range 2 {
		awaitEnded(int64(60 * (i + 1)))
		children[i+1].Kill()
		takeLease(b, children[i+1])
		spawn()
	}
	awaitEnded(200)
	if err := children[0].Wake(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	for _, batch := range []queue.Batch{batch, other} {
		got := endings(finish(b, batch))
		var want [6]int64
		err := b.pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE status = 'delivered'),
			count(*) FILTER (WHERE status = 'dead'), count(*) FILTER (WHERE status = 'cancelled'),
			count(*) FILTER (WHERE status = 'discarded'), 0 FROM public.strunk_outbox WHERE batch_id = $1`,
			batch.ID).Scan(&want[0], &want[1], &want[2], &want[3], &want[4], &want[5])
		if err != nil || got != want {
			t.Errorf("batch %d: %v; the table says %v (%v)", batch.ID, got, want, err)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'reports'`); n != 1 {
		t.Errorf("%d follow-ups; want 1", n)
	}
	wrong := value[int](b, `SELECT count(*) FROM (SELECT * FROM public.strunk_outbox WHERE key = 'batched') t
		FULL JOIN (SELECT * FROM public.strunk_outbox WHERE key = 'mail-outcome') e ON e.entity_id = t.id::text
		WHERE (e.version = 1 AND replace(e.payload->>'status', 'done', 'delivered') = t.status) IS NOT TRUE`)
	if wrong != 0 {
		t.Errorf("%d outcomes were published wrongly, not at all or twice", wrong)
	}
}

// takeLease takes the lease of a process away, as when its heartbeat has stopped for long enough.
func takeLease(b *bed, c *faults.Child) {
	b.t.Helper()
	eventually(b.t, "its lease is taken away", func() (string, bool) {
		_, err := b.pool.Exec(context.Background(), `SELECT public.strunk_expire_lease(id, NULL)
			FROM public.strunk_workers WHERE pid = $1`, c.PID())
		return fmt.Sprint(err), err == nil // its last statement may still be running
	})
}
