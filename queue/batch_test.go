package queue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// never is a wait that no test sees the end of: what happens happens for another reason.
const never = time.Hour

// texts are what tasks say.
func texts(tasks []queue.Task[note]) (all []string) {
	for _, task := range tasks {
		all = append(all, task.Payload.Text)
	}
	return all
}

// claimed waits until n tasks of a queue are claimed.
func (b *bed) claimed(q string, n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d tasks are claimed", n), func() (string, bool) {
		counts := b.counts(q)
		return fmt.Sprint(counts), counts[queue.StatusClaimed] == n
	})
}

// Each task of a batch has the outcome that the handler gave it.
func TestBatchOutcomes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("outcomes", queue.Config{Retry: queue.Backoff{First: never}})
	ids := putMany(b, q, 6)
	batches := make(chan []queue.Task[note], 10)
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error {
		batches <- tasks
		return fmt.Errorf("some of it: %w", queue.Outcomes{nil, errors.New("no"), queue.Snooze(never),
			queue.Discard("of no use"), nil,
			fmt.Errorf("wrapped: %w", queue.Snooze(never))})
	}, queue.BatchSize(6), queue.BatchWait(never)))
	if got := texts(receive(t, "the batch", batches)); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6"}) {
		t.Errorf("the batch is %v; want all six in their order", got)
	}
	for i, want := range []struct {
		status   queue.Status
		attempts int
		says     string
	}{
		{queue.StatusDelivered, 1, ""},
		{queue.StatusScheduled, 1, "no"},
		{queue.StatusScheduled, 0, ""},
		{queue.StatusDiscarded, 1, "discarded: of no use"},
		{queue.StatusDelivered, 1, ""},
		{queue.StatusScheduled, 0, ""},
	} {
		if rec := reach(b, q, ids[i], want.status); rec.Attempt != want.attempts || rec.LastError != want.says {
			t.Errorf("task %d: attempt %d, last error %q; want %d and %q", i+1, rec.Attempt, rec.LastError,
				want.attempts, want.says)
		}
	}
}

// What the handler does with a batch as a whole is every task's outcome.
func TestBatchFailsAsAWhole(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("whole", queue.Config{MaxAttempts: 1})
	rows := []struct {
		name, reason string
		handler      func() error
		says, stack  string
	}{
		{"an error", "nothing says that any is done", func() error { return errors.New("no") }, "no", ""},
		{"a panic", "a bug", func() error { panic("boom") }, "the handler panicked: boom", "batch_test.go"},
		{"Goexit", "t.FailNow in a handler's test does it", func() error { runtime.Goexit(); return nil }, "Goexit",
			""},
		{"too few outcomes", "whose are they?", func() error { return queue.Outcomes{nil} },
			"returned 1 Outcomes for 3 tasks", ""},
		{"too many outcomes", "whose are they?", func() error { return make(queue.Outcomes, 4) },
			"returned 4 Outcomes for 3 tasks", ""},
		{"nil outcomes", "it is no answer", func() error { return queue.Outcomes(nil) },
			"returned 0 Outcomes for 3 tasks", ""},
		{"nil pointer as error", "its methods panic", func() error { var e *nilError; return e }, "nilError", ""},
		{"a discard", "all are given up", func() error { return queue.Discard("of no use") }, "discarded: of no use",
			""},
	}
	handlers := map[string]func() error{}
	for _, row := range rows {
		handlers[row.name] = row.handler
	}
	b.run(q.BatchWorker(func(_ context.Context,
		tasks []queue.Task[note]) error {
		return handlers[tasks[0].Payload.Text]()
	},
		queue.BatchSize(3), queue.BatchWait(never), queue.Concurrency(1)))
	for _, row := range rows {
		var ids []int64
		for range 3 {
			ids = append(ids, put(b, q, note{row.name}))
		}
		for _, id := range ids {
			want := queue.StatusDead
			if row.name == "a discard" {
				want = queue.StatusDiscarded
			}
			rec := reach(b, q, id, want)
			if !strings.Contains(rec.LastError, row.says) {
				t.Errorf("%s (%s): last error %q; want it to say %q", row.name, row.reason, rec.LastError, row.says)
			}
			if len(rec.Attempts) != 1 || !strings.Contains(rec.Attempts[0].Stack, row.stack) {
				t.Errorf("%s (%s): history %+v; want one attempt with a stack through %q", row.name, row.reason,
					rec.Attempts, row.stack)
			}
		}
	}
}

// A batch begins when it is full and not before, however its tasks come.
func TestBatchWaitsUntilItIsFull(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("full", queue.Config{})
	batches := make(chan []queue.Task[note], 10)
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error { batches <- tasks; return nil },
		queue.BatchSize(3), queue.BatchWait(never), queue.Concurrency(2)))
	var ids []int64
	for n := range 7 {
		ids = append(ids, put(b, q, note{fmt.Sprint(n)}))
		b.claimed(q.Name(), n%3+1-3*(n%3/2)) // the third completes a batch, which is done at once
		if n%3 != 2 && len(batches) > 0 {
			t.Fatalf("a batch began with %d tasks; want 3", len(<-batches))
		}
		if n%3 == 2 {
			if got := len(receive(t, "the batch", batches)); got != 3 {
				t.Errorf("a batch of %d tasks; want 3", got)
			}
		}
	}
	for _, id := range ids[:6] {
		reach(b, q, id, queue.StatusDelivered)
	}
}

// A queue with fewer tasks than a batch is worked when the wait of the first is over, or with no wait at once.
func TestBatchWaitEnds(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, 20 * time.Millisecond, queue.DefaultBatchWait} {
		t.Run(wait.String(), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("wait", queue.Config{})
			b.run(q.BatchWorker(func(context.Context, []queue.Task[note]) error { return nil }, queue.BatchWait(wait)))
			for _, id := range append(putMany(b, q, 3), put(b, q, note{"alone"})) {
				reach(b, q, id, queue.StatusDelivered)
			}
		})
	}
}

// A worker that is asked to stop hands over what it has.
func TestBatchAtShutdown(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("stop", queue.Config{})
	joining := make(chan bool, 10)
	arrive := queue.Middleware{Work: func(ctx context.Context, _ *queue.Incoming,
		next func(context.Context) error) error {
		joining <- true
		return next(ctx)
	}}
	stop := b.run(q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error { return ctx.Err() },
		queue.BatchWait(never), arrive))
	ids := putMany(b, q, 3)
	for range ids {
		receive(t, "the tasks have begun", joining)
	}
	stop()
	for _, id := range ids {
		if rec := get(b, q, id); rec.Status != queue.StatusDelivered || rec.Attempt != 1 {
			t.Errorf("task %d is %s after %d attempts; want delivered after 1", id, rec.Status, rec.Attempt)
		}
	}
}

// The grace period and the lease end the context of the handler; its tasks are given back unspent,
// and those whose batch has not begun too.
func TestBatchGivenBack(t *testing.T) {
	t.Parallel()
	t.Run("at a shutdown", func(t *testing.T) {
		t.Parallel()
		var g *givenBack
		stopsInTime(t, func() (stop func()) {
			g = newGivenBack(t)
			return g.stop
		})
		wantError(t, receive(t, "the context ends", g.causes), queue.ErrShutdown)
		// the third was alone when the worker was asked to stop: done, or given back if it had not joined
		done := 0
		for _, id := range g.ids {
			rec := get(g.bed, g.q, id)
			if rec.Status == queue.StatusDelivered {
				done++
			} else if rec.Status != queue.StatusPending || rec.Attempt != 0 || rec.LastError != "" {
				t.Errorf("task %d is %s after %d attempts (%s); want pending and unspent", id, rec.Status,
					rec.Attempt, rec.LastError)
			}
		}
		if done > 1 {
			t.Errorf("%d tasks are done; want at most the one that had no batch", done)
		}
	})
	t.Run("without a lease", func(t *testing.T) {
		t.Parallel()
		g := newGivenBack(t)
		g.expireLeases()
		wantError(t, receive(t, "the context ends", g.causes), queue.ErrLeaseLost)
		// The rescue gives some of them back to be started alone, where it comes before the worker: so
		// one may have nobody to share its batch with, and waits for that as long as BatchWait says.
		eventually(t, "all are done under a new lease", func() (string, bool) {
			counts, left := g.counts(g.q.Name()), value[int](g.bed, `SELECT count(*) FROM public.strunk_outbox
				WHERE id = ANY ($1) AND status <> 'delivered'`, g.ids)
			if left > 0 && counts[queue.StatusClaimed] == 1 && counts[queue.StatusPending] == 0 {
				put(g.bed, g.q, note{"another"})
			}
			return fmt.Sprintf("%d of the three left; %v", left, counts), left == 0
		})
	})
}

// givenBack is a worker with a batch of two that waits for the end of its context, and a third task that is claimed.
type givenBack struct {
	*bed
	q      *queue.Queue[note]
	ids    []int64
	causes chan error // of the batch's context
	stop   func()
}

func newGivenBack(t *testing.T) *givenBack {
	t.Helper()
	g := &givenBack{bed: bedOn(t, outboxtest.New(t), outbox.Config{Grace: shortGrace}),
		q: queue.Define[note]("back", queue.Config{}), causes: make(chan error, 10)}
	began := make(chan int, 10)
	var again atomic.Bool
	g.stop = g.run(g.q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
		if again.Load() {
			return nil
		}
		began <- len(tasks)
		<-ctx.Done()
		g.causes <- context.Cause(ctx)
		return ctx.Err()
	}, queue.BatchSize(2), queue.BatchWait(never), queue.VisibilityTimeout(15*time.Second)))
	g.ids = putMany(g.bed, g.q, 3)
	receive(t, "a batch of two", began)
	g.claimed(g.q.Name(), 3)
	again.Store(true)
	return g
}

// The shortest timeout of a batch ends its context, and the attempts of all.
func TestBatchTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("timeout", queue.Config{MaxAttempts: 1})
	causes := make(chan error, 1)
	b.run(q.BatchWorker(func(ctx context.Context, _ []queue.Task[note]) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}, queue.BatchSize(3), queue.BatchWait(never)))
	ids := append(putMany(b, q, 2), put(b, q, note{"brief"}, queue.Timeout(500*time.Millisecond)))
	wantError(t, receive(t, "the context ends", causes), queue.ErrTimeout)
	for _, id := range ids {
		rec := reach(b, q, id, queue.StatusDead)
		if want := queue.ErrTimeout.Error() + " after 500ms"; !strings.Contains(rec.LastError, want) {
			t.Errorf("last error %q; want %q", rec.LastError, want)
		}
	}
}

// While a batch gathers the timeouts of its tasks do not run.
func TestBatchTimeoutDoesNotRunWhileItGathers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("gather", queue.Config{MaxAttempts: 1, Timeout: 6 * time.Second})
	b.run(q.BatchWorker(func(ctx context.Context, _ []queue.Task[note]) error { return ctx.Err() },
		queue.BatchSize(3), queue.BatchWait(never)))
	ids := putMany(b, q, 2)
	b.claimed(q.Name(), 2)
	eventually(t, "they have waited for longer than their timeout", func() (string, bool) {
		waited := value[float64](b, `SELECT extract(epoch FROM clock_timestamp() - max(claimed_at))::float8
			FROM public.strunk_outbox`)
		return fmt.Sprint(waited), waited > 7
	})
	for _, id := range append(ids, put(b, q, note{"the last"})) {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 1 {
			t.Errorf("task %d is done after %d attempts; want 1", id, rec.Attempt)
		}
	}
}

// A handler that ignores its context is let go of, and another batch begins in its place.
func TestBatchHandlerThatHangsIsAbandoned(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hung", queue.Config{Retry: atOnce, Timeout: 500 * time.Millisecond})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error {
		if tasks[0].Attempt == 1 && tasks[0].Payload.Text == "1" {
			<-hang
		}
		return nil
	}, queue.BatchSize(2), queue.Concurrency(1), queue.BatchWait(0)))
	ids := putMany(b, q, 6)
	for i, id := range ids {
		rec := reach(b, q, id, queue.StatusDelivered)
		if i == 0 && (rec.Attempt != 2 || !strings.Contains(rec.Attempts[0].Error, "did not return")) {
			t.Errorf("attempt %d, history %+v; want a second attempt after the first was abandoned", rec.Attempt,
				rec.Attempts)
		}
	}
}

// A payload that cannot be decoded fails alone, without a place in a batch.
func TestBatchWithoutPoison(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("poison", queue.Config{})
	first := put(b, q, note{"first"})
	poison := value[int64](b, `SELECT public.strunk_enqueue('poison', '{"text": 1}'::json)`)
	second := put(b, q, note{"second"})
	batches := make(chan []queue.Task[note], 10)
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error { batches <- tasks; return nil },
		queue.BatchSize(2), queue.BatchWait(never)))
	if got := texts(receive(t, "a batch", batches)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("the batch is %v; want the two good ones", got)
	}
	if rec := reach(b, q, poison, queue.StatusDead); rec.Attempt != 1 ||
		!strings.Contains(rec.LastError, queue.ErrPoison.Error()) {
		t.Errorf("attempt %d, last error %q; want one that names the poison", rec.Attempt, rec.LastError)
	}
	reach(b, q, first, queue.StatusDelivered)
	reach(b, q, second, queue.StatusDelivered)
}

// A batch is of one key, whatever order the tasks come in.
func TestBatchPerKey(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("keys", queue.Config{})
	byText := queue.Middleware{Work: func(ctx context.Context, in *queue.Incoming,
		next func(context.Context) error) error {
		meta, err := in.Metadata()
		queue.SetKey(in, meta["key"])
		return errors.Join(err, next(ctx))
	}}
	const keys, each = 4, 6
	var ids []int64
	for n := range keys * each {
		ids = append(ids, put(b, q, note{fmt.Sprint(n)},
			queue.Metadata(map[string]string{"key": fmt.Sprint(n % keys)})))
	}
	var mu sync.Mutex
	sizes := map[string][]int{}
	b.run(q.BatchWorker(func(_ context.Context, tasks []queue.Task[note]) error {
		mu.Lock()
		defer mu.Unlock()
		for _, task := range tasks {
			if task.CustomerKey != tasks[0].CustomerKey {
				t.Errorf("a batch has tasks of the keys %q and %q", task.CustomerKey, tasks[0].CustomerKey)
			}
		}
		sizes[tasks[0].CustomerKey] = append(sizes[tasks[0].CustomerKey], len(tasks))
		return nil
	}, queue.BatchSize(each), queue.BatchWait(never), queue.Concurrency(keys), queue.BatchPerKey(), byText))
	for _, id := range ids {
		reach(b, q, id, queue.StatusDelivered)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "map[0:[6] 1:[6] 2:[6] 3:[6]]"; fmt.Sprint(sizes) != want {
		t.Errorf("batches %v; want %s", sizes, want)
	}
}

// With more keys than a worker can hold tasks, batches begin that can get no fuller.
func TestBatchPerKeyWithManyKeys(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("many", queue.Config{})
	own := queue.Middleware{Work: func(ctx context.Context, in *queue.Incoming,
		next func(context.Context) error) error {
		queue.SetKey(in, fmt.Sprint(in.ID()))
		return next(ctx)
	}}
	ids := putMany(b, q, 40)
	b.run(q.BatchWorker(func(context.Context, []queue.Task[note]) error { return nil },
		queue.BatchSize(3), queue.BatchWait(never), queue.Concurrency(2), queue.BatchPerKey(), own))
	for range 5 { // of the six places these leave one free: the last may wait for others of their keys
		put(b, q, note{"more"})
	}
	eventually(t, "all but those that fit are done", func() (string, bool) {
		counts := b.counts(q.Name())
		return fmt.Sprint(counts), counts[queue.StatusDelivered] >= len(ids) && counts[queue.StatusPending] == 0
	})
}
