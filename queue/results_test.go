package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type sum struct{ Total int }

func sums(cfg queue.Config) *queue.ResultQueue[[]int, sum] {
	return queue.DefineWithResult[[]int, sum]("sums", cfg)
}

func add(_ context.Context, task queue.Task[[]int]) (s sum, err error) {
	for _, n := range task.Payload {
		if s.Total += n; n < 0 {
			return s, errors.New("negative")
		}
	}
	return s, nil
}

func TestResultsReachTheirWaiters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		cfg          outbox.Config
		queue        queue.Config
		worker       func(q *queue.ResultQueue[[]int, sum]) outbox.Binding
	}{
		{"listening", "the waiter is in another process than Run, and polls once a minute",
			outbox.Config{PollInterval: time.Minute}, queue.Config{}, plainAdder},
		{"by polling alone", "there is no LISTEN", outbox.Config{PollOnly: true,
			PollInterval: 20 * time.Millisecond}, queue.Config{}, plainAdder},
		{"in a transaction", "the result is committed with the completion", outbox.Config{PollInterval: time.Minute},
			queue.Config{}, func(q *queue.ResultQueue[[]int, sum]) outbox.Binding {
				return q.WorkerInTx(func(ctx context.Context, _ *outbox.OwnedTx, task queue.Task[[]int]) (sum, error) {
					return add(ctx, task)
				})
			}},
		{"deleted when done", "the result outlives the task", outbox.Config{}, queue.Config{DiscardDelivered: true},
			plainAdder},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			waiter := bedOn(t, b.pool, c.cfg)
			q := sums(c.queue)
			id := put(b, q.Queue, []int{1, 2, 39})
			_, err := q.Result(t.Context(), b.box, id)
			wantError(t, err, queue.ErrNoResult)
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			got := make(chan sum, 1)
			go func() {
				s, err := q.Wait(ctx, waiter.box, id)
				if err != nil {
					t.Error(err)
				}
				got <- s
			}()
			b.run(c.worker(q))
			if s := receive(t, c.reason, got); s.Total != 42 {
				t.Errorf("result %+v; want 42", s)
			}
			if s, err := q.Result(ctx, b.box, id); s.Total != 42 || err != nil {
				t.Errorf("read again: %+v, %v", s, err)
			}
		})
	}
}

func plainAdder(q *queue.ResultQueue[[]int, sum]) outbox.Binding { return q.Worker(add) }

func TestWaitTellsWhyThereIsNoResult(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := sums(queue.Config{MaxAttempts: 1})
	b.run(q.Worker(add))
	id := put(b, q.Queue, []int{-1})
	_, err := q.Wait(t.Context(), b.box, id)
	wantError(t, err, queue.ErrDead, "negative")
	var dead *queue.DeadError
	if !errors.As(err, &dead) || dead.ID != id {
		t.Errorf("error %v; want a DeadError of task %d", err, id)
	}
	_, err = q.Wait(t.Context(), b.box, 1<<40)
	wantError(t, err, queue.ErrNotFound)
	late := put(b, q.Queue, []int{1}, queue.Delay(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = q.Wait(ctx, b.box, late)
	wantError(t, err, context.DeadlineExceeded)
}

func TestProgressIsReportedAndFenced(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("progress", queue.Config{})
	id := put(b, q, note{"x"})
	reported, taken, refused := make(chan error), make(chan struct{}), make(chan error, 1)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		reported <- queue.Report(ctx, 40, "halfway there")
		<-taken
		refused <- queue.Report(ctx, 80, "stale")
		return nil
	}))
	if err := receive(t, "the report", reported); err != nil {
		t.Error(err)
	}
	p, err := q.Progress(t.Context(), b.box, id)
	if p.Percent != 40 || p.Message != "halfway there" || p.UpdatedAt.IsZero() || err != nil {
		t.Errorf("progress %+v, %v", p, err)
	}
	b.exec(`UPDATE public.strunk_outbox_tasks SET worker_id = 1 WHERE id = $1`, id)
	close(taken)
	wantError(t, receive(t, "the stale report", refused), queue.ErrLeaseLost)
	if p, _ := q.Progress(t.Context(), b.box, id); p.Percent != 40 {
		t.Errorf("a stale handler has moved the progress to %d", p.Percent)
	}
	wantError(t, queue.Report(t.Context(), 1, ""), queue.ErrNotInHandler)
}
