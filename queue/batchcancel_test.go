package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// cancel cancels a task that must be running.
func cancel[T any](b *bed, q *queue.Queue[T], id int64) {
	b.t.Helper()
	state, err := q.Cancel(context.Background(), b.box, id, "not wanted")
	if err != nil || state != queue.CancelRequested {
		b.t.Fatalf("%s, %v; want a request", state, err)
	}
}

// A cancelled task does not end its batch: its own context ends, and what the handler says of it decides.
func TestBatchGoesOnWithoutACancelledTask(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("cancel one", queue.Config{Retry: queue.Backoff{First: never}})
	ids := putMany(b, q, 4)
	began, ended := make(chan context.Context, 1), make(chan error, 2)
	finish := make(chan bool)
	b.run(q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
		began <- ctx
		for _, task := range tasks[:2] {
			one := queue.TaskContext(ctx, task.ID)
			<-one.Done()
			ended <- context.Cause(one)
		}
		<-finish
		no := errors.New("no")
		return queue.Outcomes{no, nil, no, nil}
	}, queue.BatchSize(4), queue.BatchWait(never)))
	ctx := receive(t, "the batch begins", began)
	for _, id := range ids[:2] {
		cancel(b, q, id)
		wantError(t, receive(t, "the task's context ends", ended), queue.ErrCancelled)
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("the batch's context has ended: %v", err)
	}
	finish <- true
	if rec := reach(b, q, ids[0], queue.StatusCancelled); rec.LastError != "cancelled: not wanted" {
		t.Errorf("last error %q; want the reason of the cancellation", rec.LastError)
	}
	reach(b, q, ids[1], queue.StatusDelivered)
	reach(b, q, ids[2], queue.StatusScheduled)
	reach(b, q, ids[3], queue.StatusDelivered)
}

// When all tasks of a batch were cancelled its context ends.
func TestBatchEndsWhenAllAreCancelled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("cancel all", queue.Config{})
	ids := putMany(b, q, 3)
	began, causes := make(chan bool, 1), make(chan error, 1)
	b.run(q.BatchWorker(func(ctx context.Context, _ []queue.Task[note]) error {
		began <- true
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}, queue.BatchSize(3), queue.BatchWait(never)))
	receive(t, "the batch begins", began)
	for _, id := range ids {
		cancel(b, q, id)
	}
	wantError(t, receive(t, "the context ends", causes), queue.ErrCancelled)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusCancelled); rec.LastError != "cancelled: not wanted" {
			t.Errorf("last error %q; want the reason of the cancellation", rec.LastError)
		}
	}
}

// A task that is cancelled while its batch gathers leaves it at once.
func TestBatchIsLeftByACancelledTask(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("cancel early", queue.Config{})
	batches := make(chan []queue.Task[note], 1)
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error { batches <- tasks; return nil },
		queue.BatchSize(2), queue.BatchWait(never)))
	gone := put(b, q, note{"gone"})
	b.claimed(q.Name(), 1)
	cancel(b, q, gone)
	if rec := reach(b, q, gone, queue.StatusCancelled); rec.LastError != "cancelled: not wanted" {
		t.Errorf("last error %q; want the reason of the cancellation", rec.LastError)
	}
	putMany(b, q, 2)
	if got := strings.Join(texts(receive(t, "a batch of others", batches)), " "); got != "1 2" {
		t.Errorf("the batch is %s; want the other two", got)
	}
}

// Under load, with everything that can go wrong: each task ends once, no batch is too large or
// mixed, and no more are handled at once than may be.
func TestBatchUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks, keys, size, concurrency = 1500, 40, 16, 3
	for _, perKey := range []bool{false, true} {
		t.Run(fmt.Sprintf("per key %v", perKey), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("load", queue.Config{Retry: atOnce, MaxAttempts: 1000})
			ids := putMany(b, q, tasks)
			opts := []queue.WorkerOption{queue.BatchSize(size), queue.Concurrency(concurrency),
				queue.BatchWait(5 * time.Millisecond),
				queue.Middleware{Work: func(ctx context.Context, in *queue.Incoming,
					next func(context.Context) error) error {
					queue.SetKey(in, fmt.Sprint(in.ID()%keys))
					return next(ctx)
				}}}
			if perKey {
				opts = append(opts, queue.BatchPerKey())
			}
			var running atomic.Int64
			var mu sync.Mutex
			done := map[int64]int{}
			b.run(q.BatchWorker(func(_ context.Context, batch []queue.Task[note]) error {
				if n := running.Add(1); n > concurrency {
					t.Errorf("%d batches at once; want at most %d", n, concurrency)
				}
				defer running.Add(-1)
				if len(batch) == 0 || len(batch) > size {
					t.Errorf("a batch of %d tasks; want 1 to %d", len(batch), size)
				}
				switch rand.IntN(10) {
				case 0:
					panic("now and then")
				case 1:
					return errors.New("now and then")
				}
				mu.Lock()
				defer mu.Unlock()
				outcomes := make(queue.Outcomes, len(batch))
				for i, task := range batch {
					if perKey && task.CustomerKey != batch[0].CustomerKey {
						t.Errorf("a batch has tasks of the keys %q and %q", task.CustomerKey, batch[0].CustomerKey)
					}
					if rand.IntN(10) == 0 {
						outcomes[i] = queue.Snooze(0)
					} else {
						done[task.ID]++
					}
				}
				return outcomes
			}, opts...))
			eventually(t, "all are done", func() (string, bool) {
				counts := b.counts(q.Name())
				return fmt.Sprint(counts), counts[queue.StatusDelivered] == tasks
			})
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				if done[id] != 1 {
					t.Errorf("task %d was done %d times; want once", id, done[id])
				}
			}
		})
	}
}
