package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func TestCancelWaitingTask(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("cancel", queue.Config{})
	for _, opts := range [][]queue.EnqueueOption{nil, {queue.Delay(time.Hour)}} {
		id := put(b, q, note{"x"}, opts...)
		if state, err := q.Cancel(t.Context(), b.box, id, "not needed"); state != queue.CancelDone || err != nil {
			t.Errorf("cancel: %v, %v", state, err)
		}
		if rec := get(b, q, id); rec.Status != queue.StatusCancelled || rec.LastError != "cancelled: not needed" {
			t.Errorf("a cancelled task is %s, %q", rec.Status, rec.LastError)
		}
		if state, err := q.Cancel(t.Context(), b.box, id, ""); state != queue.CancelTooLate || err != nil {
			t.Errorf("cancel again: %v, %v", state, err)
		}
	}
	_, err := q.Cancel(t.Context(), b.box, 1<<40, "")
	wantError(t, err, queue.ErrNotFound)
}

func TestCancelRunningTask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		cfg          outbox.Config
		cancel       func(b *bed, q *queue.Queue[note], id int64)
	}{
		{"from another box", "a notification finds the worker", outbox.Config{PollInterval: time.Minute}, cancelByBox},
		{"from SQL", "the function notifies as well", outbox.Config{PollInterval: time.Minute},
			func(b *bed, _ *queue.Queue[note], id int64) {
				b.exec(`SELECT public.strunk_cancel($1, 'because')`, id)
			}},
		{"by polling alone", "there is no LISTEN", outbox.Config{PollOnly: true,
			PollInterval: 20 * time.Millisecond}, cancelByBox},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			worker := bedOn(t, b.pool, c.cfg)
			q := queue.Define[note]("cancel", queue.Config{})
			id, other := put(b, q, note{"x"}), put(b, q, note{"goes on"})
			began, causes := make(chan int64, 2), make(chan error, 1)
			finish := make(chan struct{})
			worker.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
				began <- task.ID
				if task.ID == other {
					<-finish
					return ctx.Err()
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			}))
			receive(t, "both begin", began)
			receive(t, "both begin", began)
			c.cancel(b, q, id)
			if cause := receive(t, c.reason, causes); !errors.Is(cause, queue.ErrCancelled) {
				t.Errorf("the context ended with %v; want ErrCancelled", cause)
			}
			rec := reach(b, q, id, queue.StatusCancelled)
			if rec.LastError != "cancelled: because" || rec.Attempt != 1 {
				t.Errorf("last error %q after attempt %d", rec.LastError, rec.Attempt)
			}
			close(finish)
			reach(b, q, other, queue.StatusDelivered)
		})
	}
}

func cancelByBox(b *bed, q *queue.Queue[note], id int64) {
	state, err := q.Cancel(context.Background(), b.box, id, "because")
	if state != queue.CancelRequested || err != nil {
		b.t.Errorf("cancel: %v, %v", state, err)
	}
}

// A handler that is done all the same has done its task, and one whose worker died is not begun again.
func TestCancelRunningTaskThatEndsOtherwise(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("cancel", queue.Config{})
	began := make(chan int64, 1)
	id := put(b, q, note{"x"})
	stop := b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		began <- task.ID
		<-ctx.Done()
		return nil
	}))
	receive(t, "the handler", began)
	cancelByBox(b, q, id)
	reach(b, q, id, queue.StatusDelivered)
	stop()

	child := spawnWorker(b, q.Name(), toTheKill, 1)
	orphan := put(b, q, note{"y"})
	awaitStarted(t, child, 1)
	if err := child.Freeze(); err != nil {
		t.Skip(err)
	}
	cancelByBox(b, q, orphan)
	child.Kill()
	b.expireLeases()
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	if rec := reach(b, q, orphan, queue.StatusCancelled); rec.LastError != "cancelled: because" {
		t.Errorf("last error %q", rec.LastError)
	}
	eventually(t, "the request is forgotten", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_cancels`)
		return fmt.Sprint(n), n == 0
	})
}

func TestPauseKeepsTasksFromBeginning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		cfg          outbox.Config
	}{
		{"listening", "notifications carry it", outbox.Config{PollInterval: time.Minute}},
		{"by polling alone", "there is no LISTEN", outbox.Config{PollOnly: true, PollInterval: 20 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			worker := bedOn(t, b.pool, c.cfg)
			q := queue.Define[note]("pause", queue.Config{})
			var begun atomic.Int64
			running, finish := make(chan struct{}, 1), make(chan struct{})
			long := put(b, q, note{"long"})
			worker.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
				if begun.Add(1); task.Payload.Text == "long" {
					running <- struct{}{}
					<-finish
				}
				return nil
			}, queue.Concurrency(1)))
			receive(t, "a long task runs", running)
			if err := q.Pause(t.Context(), b.box, ""); err != nil {
				t.Fatal(err)
			}
			if paused, err := q.Paused(t.Context(), b.box); !paused || err != nil {
				t.Errorf("Paused: %v, %v", paused, err)
			}
			eventually(t, "the worker has heard", func() (string, bool) {
				return "", strings.Contains(worker.logs.String(), "a queue was paused")
			})
			ids := putMany(b, q, 20)
			close(finish) // a running handler ends as ever
			reach(b, q, long, queue.StatusDelivered)
			if n := begun.Load(); n != 1 {
				t.Errorf("%d tasks were begun; want the long one alone", n)
			}
			eventually(t, "what was claimed ahead is given back", func() (string, bool) {
				c := b.counts(q.Name())
				return fmt.Sprint(c), c[queue.StatusPending] == len(ids)
			})
			b.exec(`SELECT public.strunk_resume_queue('pause')`)
			for _, id := range ids {
				reach(b, q, id, queue.StatusDelivered)
			}
		})
	}
}

// A worker that starts while its queue is paused begins nothing.
func TestPauseHoldsForNewWorkers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("pause", queue.Config{})
	b.exec(`SELECT public.strunk_pause_queue('pause')`)
	id := put(b, q, note{"x"})
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	eventually(t, "the worker is up", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers`)
		return fmt.Sprint(n), n == 1
	})
	put(b, q, note{"wakes the worker"})
	time.Sleep(100 * time.Millisecond) // nothing must happen: there is no signal for that
	if rec := get(b, q, id); rec.Status != queue.StatusPending {
		t.Errorf("a task of a paused queue is %s", rec.Status)
	}
	if err := q.Resume(t.Context(), b.box); err != nil {
		t.Fatal(err)
	}
	reach(b, q, id, queue.StatusDelivered)
}

func TestSnoozeSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("snooze", queue.Config{MaxAttempts: 1})
	id := put(b, q, note{"x"})
	var runs atomic.Int64
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.Attempt != 1 {
			t.Errorf("attempt %d; want 1 each time", task.Attempt)
		}
		if runs.Add(1) < 4 {
			return fmt.Errorf("not yet: %w", queue.Snooze(time.Millisecond))
		}
		return nil
	}))
	rec := reach(b, q, id, queue.StatusDelivered)
	if runs.Load() != 4 || len(rec.Attempts) != 0 || rec.LastError != "" {
		t.Errorf("%d runs, errors %+v, %q; want 4 and none", runs.Load(), rec.Attempts, rec.LastError)
	}
}

func TestDiscardEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("discard", queue.Config{})
	id := put(b, q, note{"x"})
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return queue.Discard("the customer is gone") }))
	if rec := reach(b, q, id, queue.StatusDiscarded); rec.Attempt != 1 ||
		rec.LastError != "discarded: the customer is gone" {
		t.Errorf("attempt %d, last error %q", rec.Attempt, rec.LastError)
	}
}
