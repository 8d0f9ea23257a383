package queue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// What a person cancels and what a handler discards is no dead letter: no hook is called, and dead letters are
// neither listed nor counted with it. It is listed, retried and purged by its own status.
func TestCancelledIsNotDead(t *testing.T) {
	t.Parallel()
	hook := queue.Middleware{Dead: func(_ context.Context, letter queue.DeadLetter) {
		t.Errorf("the Dead hook was called for task %d", letter.ID)
	}}
	b := bedOn(t, outboxtest.New(t), outbox.Config{Extensions: []outbox.Extension{hook}})
	q := queue.DefineWithResult[note, int]("apart", queue.Config{})
	waits := put(b, q.Queue, note{"wait"}, queue.Delay(time.Hour))
	cancelByBoxWaiting(b, q.Queue, waits)
	began := make(chan int64, 1)
	runs, quits := put(b, q.Queue, note{"run"}), put(b, q.Queue, note{"quit"})
	stop := b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) (int, error) {
		if task.Payload.Text == "quit" {
			return 0, queue.Discard("of no use")
		}
		began <- task.ID
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	receive(t, "one runs", began)
	cancelByBox(b, q.Queue, runs)
	reach(b, q.Queue, runs, queue.StatusCancelled)
	reach(b, q.Queue, quits, queue.StatusDiscarded)
	stop()

	_, err := q.Wait(t.Context(), b.box, runs)
	wantError(t, err, queue.ErrCancelled, "because")
	_, err = q.Wait(t.Context(), b.box, quits)
	wantError(t, err, queue.ErrDiscarded, "of no use")

	for status, want := range map[string][]int64{"": nil, outbox.EndedCancelled: {waits, runs},
		outbox.EndedDiscarded: {quits}} {
		filter := outbox.DeadFilter{Queue: "apart", Status: status}
		ids, err := queue.DeadIDs(t.Context(), b.box, filter)
		n, countErr := queue.CountDead(t.Context(), b.box, filter)
		letters, listErr := queue.DeadLetters(t.Context(), b.box, filter)
		if err != nil || countErr != nil || listErr != nil || fmt.Sprint(ids) != fmt.Sprint(want) || n != len(want) ||
			len(letters) != len(want) {
			t.Errorf("status %q: %v, %d, %d letters; want %v (%v, %v, %v)", status, ids, n, len(letters), want, err,
				countErr, listErr)
		}
	}
	_, err = queue.DeadLetters(t.Context(), b.box, outbox.DeadFilter{Status: "pending"})
	wantError(t, err, queue.ErrInvalid)

	retryAndPurgeCancelled(b, q.Queue, waits, runs, quits)
}

func retryAndPurgeCancelled(b *bed, q *queue.Queue[note], retried, purged, byHand int64) {
	b.t.Helper()
	ctx := b.t.Context()
	if n, err := queue.RetryDead(ctx, b.box, outbox.DeadFilter{IDs: []int64{retried},
		Status: outbox.EndedCancelled}); n != 1 || err != nil {
		b.t.Errorf("retry: %d, %v", n, err)
	}
	if n, err := queue.PurgeDead(ctx, b.box, outbox.DeadFilter{Status: outbox.EndedCancelled}); n != 1 || err != nil {
		b.t.Errorf("purge: %d, %v", n, err)
	}
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`, byHand)
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	reach(b, q, retried, queue.StatusDelivered)
	reach(b, q, byHand, queue.StatusDelivered)
	_, err := q.Get(ctx, b.box, purged)
	wantError(b.t, err, queue.ErrNotFound)
}

func cancelByBoxWaiting(b *bed, q *queue.Queue[note], id int64) {
	b.t.Helper()
	if state, err := q.Cancel(context.Background(), b.box, id, "because"); state != queue.CancelDone || err != nil {
		b.t.Errorf("cancel: %v, %v", state, err)
	}
}
