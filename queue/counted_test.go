package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

var errRefused = errors.New("refused")

// What every process counts in memory is, after a clean stop, what the tables say: tasks that are done, in a
// transaction, in a batch and by a manual claim too; that fail once or always, are discarded, and are cancelled
// while they wait and while they run; a transaction that is rolled back and a duplicate count nothing.
func TestCountersAreExact(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	plain, inTx := queue.Define[note]("plain", queue.Config{MaxAttempts: 2}), queue.Define[note]("intx", queue.Config{})
	batch, manual := queue.Define[note]("batch", queue.Config{}), queue.Define[note]("manual", queue.Config{})
	for _, q := range []*queue.Queue[note]{plain, inTx, batch, manual} {
		putMany(b, q, 30)
	}
	put(b, plain, note{"keyed"}, queue.DedupKey("once"))
	put(b, plain, note{"keyed"}, queue.DedupKey("once"))
	if err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		if _, err := plain.Enqueue(t.Context(), tx, note{"gone"}); err != nil {
			t.Error(err)
		}
		return errRefused
	}); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	for range 3 {
		cancelByBoxWaiting(b, plain, put(b, plain, note{"wait"}, queue.Delay(time.Hour)))
	}
	handle, running := actsByText()
	stop := b.run(plain.Worker(handle, queue.Retry(atOnce)),
		inTx.WorkerInTx(func(context.Context, *outbox.OwnedTx, queue.Task[note]) error { return nil }),
		batch.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error { return nil }))
	runs := put(b, plain, note{"run"})
	receive(t, "one runs", running)
	cancelByBox(b, plain, runs)
	reach(b, plain, runs, queue.StatusCancelled)
	endAll(b, manual)
	eventually(t, "all have ended", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox_tasks`)
		return fmt.Sprint(n), n == 0
	})
	stop()

	// Of 30 in plain: 6 fail once, 6 fail for good, 6 are discarded.
	b.wantCounters("plain", counters{enqueued: 35, begun: 44, done: 19, failed: 18, retried: 12, dead: 6, cancelled: 4,
		discarded: 6, ran: 44})
	for _, name := range []string{"intx", "batch", "manual"} {
		b.wantCounters(name, counters{enqueued: 30, begun: 30, done: 30, ran: 30})
	}
	b.exec(`UPDATE public.strunk_counters SET minute = minute - interval '1 minute'`)
	b.exec(`SELECT public.strunk_fold_counters('2 days', 1000)`)
	b.wantCounters("plain", counters{enqueued: 35, begun: 44, done: 19, failed: 18, retried: 12, dead: 6, cancelled: 4,
		discarded: 6, ran: 44})
}

// actsByText is a handler that does what the number of the task says, and says when one runs that is to be cancelled.
func actsByText() (queue.Handler[note], <-chan int64) {
	running := make(chan int64, 1)
	return func(ctx context.Context, task queue.Task[note]) error {
		var n int
		if _, err := fmt.Sscan(task.Payload.Text, &n); err != nil {
			n = 0
		}
		switch {
		case task.Payload.Text == "run":
			running <- task.ID
			<-ctx.Done()
			return ctx.Err()
		case n%5 == 1 && task.Attempt == 1, n%5 == 2:
			return errRefused
		case n%5 == 3:
			return queue.Discard("of no use")
		}
		return nil
	}, running
}

// endAll completes all tasks of a queue by a manual claim.
func endAll(b *bed, q *queue.Queue[note]) {
	b.t.Helper()
	claim, err := q.Claim(b.t.Context(), b.box, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, task := range claim.Tasks {
		if err := claim.Complete(b.t.Context(), task.ID); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := claim.Release(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// counters are the totals of a queue.
type counters struct {
	enqueued, begun, done, failed, retried, dead, cancelled, discarded, ran int64
}

// wantCounters compares the totals of a queue with what is wanted, and where the tables can say, with count(*).
func (b *bed) wantCounters(queue string, want counters) {
	b.t.Helper()
	var got counters
	row := b.pool.QueryRow(context.Background(), `SELECT t.enqueued,
		(SELECT sum(n) FROM unnest(t.waits) n), t.done, t.failed,
		t.retried, t.dead, t.cancelled, t.discarded, (SELECT sum(n) FROM unnest(t.runs) n)
		FROM public.strunk_count_totals('queue') t WHERE t.name = $1`, queue)
	if err := row.Scan(&got.enqueued, &got.begun, &got.done, &got.failed, &got.retried, &got.dead, &got.cancelled,
		&got.discarded, &got.ran); err != nil {
		b.t.Fatal(err)
	}
	if got != want {
		b.t.Errorf("queue %s: counted %+v; want %+v", queue, got, want)
	}
	rows := b.counts(queue)
	if in := (counters{done: int64(rows["delivered"]), dead: int64(rows["dead"]), cancelled: int64(rows["cancelled"]),
		discarded: int64(rows["discarded"])}); in.done != got.done || in.dead != got.dead ||
		in.cancelled != got.cancelled || in.discarded != got.discarded {
		b.t.Errorf("queue %s: counted %+v; the tables hold %+v", queue, got, in)
	}
}
