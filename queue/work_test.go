package queue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// A task comes back after each failure, with the wait that its policy says, and is a dead letter after the last.
func TestRetriesFollowThePolicy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	type asked struct {
		attempt int
		err     error
	}
	errNo := errors.New("no")
	questions := make(chan asked, 10)
	policy := queue.RetryFunc(func(attempt int, err error) time.Duration {
		questions <- asked{attempt, err}
		return time.Duration(attempt) * 20 * time.Millisecond
	})
	q := queue.Define[note]("retries", queue.Config{MaxAttempts: 3, Retry: policy})
	id := put(b, q, note{"stubborn"})
	attempts := make(chan queue.Task[note], 10)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		attempts <- task
		return fmt.Errorf("attempt %d: %w", task.Attempt, errNo)
	}))
	rec := reach(b, q, id, queue.StatusDead)
	if len(attempts) != 3 {
		t.Errorf("%d attempts; want 3", len(attempts))
	}
	var before time.Time
	for n := 1; n <= 3; n++ {
		task := <-attempts
		if task.Attempt != n || task.MaxAttempts != 3 {
			t.Errorf("attempt %d of %d; want %d of 3", task.Attempt, task.MaxAttempts, n)
		}
		if n > 1 && task.DueAt.Sub(before) < time.Duration(n-1)*20*time.Millisecond {
			t.Errorf("attempt %d was due %v after the failure before it; want the policy's %d ms", n,
				task.DueAt.Sub(before), (n-1)*20)
		}
		before = rec.Attempts[n-1].At
	}
	if len(questions) != 2 {
		t.Errorf("the policy was asked %d times; want 2, there is no wait after the last attempt", len(questions))
	}
	for n := 1; len(questions) > 0; n++ {
		if q := <-questions; q.attempt != n || !errors.Is(q.err, errNo) {
			t.Errorf("the policy was asked about attempt %d and %v; want %d and the handler's error", q.attempt,
				q.err, n)
		}
	}
	if rec.LastError != "attempt 3: no" || len(rec.Attempts) != 3 || rec.Attempts[0].Error != "attempt 1: no" ||
		rec.Attempts[0].Number != 1 {
		t.Errorf("last error %q, history %+v; want all three attempts", rec.LastError, rec.Attempts)
	}
}

func TestBackoffDoublesWithJitter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, reason string
		attempt      int
		want         time.Duration
	}{
		{"first", "the documented first wait", 1, time.Second},
		{"third", "it doubles", 3, 4 * time.Second},
		{"late", "it stops doubling", 30, time.Hour},
		{"absurd", "powers of two must not overflow", 100_000, time.Hour},
		{"zero", "there is no attempt 0; the first wait is the least", 0, time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			low, high := row.want*8/10, row.want*12/10
			seen := map[time.Duration]bool{}
			for range 200 {
				d := queue.DefaultBackoff.Delay(row.attempt, nil)
				if d < low || d > high {
					t.Fatalf("%v; want %v with 20%% jitter (%s)", d, row.want, row.reason)
				}
				seen[d] = true
			}
			if len(seen) < 100 {
				t.Errorf("%d different waits of 200; want jitter", len(seen))
			}
		})
	}
}

// nilError is the classic mistake: a nil pointer in an error that is not nil.
type nilError struct{ err error }

func (e *nilError) Error() string { return e.err.Error() }
func (e *nilError) Unwrap() error { return e.err }

// Whatever a handler does, its attempt fails with words that say what happened, and the worker goes on.
func TestHandlersThatMisbehave(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("misbehave", queue.Config{MaxAttempts: 1})
	errInside := errors.New("inside")
	rows := []struct {
		name, reason string
		handler      func() error
		says, stack  string
	}{
		{"panic", "a bug", func() error { panic("boom") }, "the handler panicked: boom", "work_test.go"},
		{"panic with an error", "a bug", func() error { panic(errInside) }, "the handler panicked: inside",
			"work_test.go"},
		{"nil map", "a bug of the runtime's kind", func() error { writeTo(nil); return nil }, "nil map",
			"work_test.go"},
		{"Goexit", "t.FailNow in a handler's test does it", func() error { runtime.Goexit(); return nil }, "Goexit",
			""},
		{"nil pointer as error", "its methods panic", func() error { var e *nilError; return e }, "nilError", ""},
		{"NUL and invalid UTF-8", "PostgreSQL takes neither", func() error { return errors.New("a\x00b\xffc") },
			"a�b�c", ""},
		{"endless", "the text is cut", func() error { return errors.New(strings.Repeat("long ", 1_000_000)) },
			"(cut)", ""},
		{"panic with nil", "panic(nil) is a panic", func() error { panic(nil) }, "the handler panicked", ""},
	}
	handlers := map[string]func() error{}
	for _, row := range rows {
		handlers[row.name] = row.handler
	}
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { return handlers[task.Payload.Text]() },
		queue.Concurrency(1)))
	for _, row := range rows {
		rec := reach(b, q, put(b, q, note{row.name}), queue.StatusDead)
		if !strings.Contains(rec.LastError, row.says) || len(rec.LastError) > 20_000 {
			t.Errorf("%s (%s): last error %.200q (%d bytes); want it to say %q", row.name, row.reason, rec.LastError,
				len(rec.LastError), row.says)
		}
		if len(rec.Attempts) != 1 || !strings.Contains(rec.Attempts[0].Stack, row.stack) {
			t.Errorf("%s (%s): history %+v; want one attempt with a stack through %q", row.name, row.reason,
				rec.Attempts, row.stack)
		}
	}
	if rec := reach(b, q, put(b, q, note{"panic"}), queue.StatusDead); strings.Contains(rec.Attempts[0].Stack,
		"(0x") || strings.Contains(rec.Attempts[0].Stack, "({0x") {
		t.Errorf("the stack has arguments, which a payload may be among:\n%s", rec.Attempts[0].Stack)
	}
	eventually(t, "the log has the stack of a panic", func() (string, bool) {
		log := b.logs.String()
		return log, strings.Contains(log, "stack=") && strings.Contains(log, "work_test.go")
	})
}

func TestPoisonGoesToTheDeadLettersAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("poison", queue.Config{})
	// Another program, or an older version of this one, enqueued what this queue's type cannot hold.
	const raw = `{"text": [1,   2],"more":"\u00e9"}`
	id := value[int64](b, `SELECT public.strunk_enqueue('poison', $1::json)`, raw)
	good := put(b, q, note{"good"})
	var handled atomic.Int64
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { handled.Add(1); return nil }))
	rec := reach(b, q, id, queue.StatusDead)
	if string(rec.Raw) != raw {
		t.Errorf("the raw payload is %s; want it as it was: %s", rec.Raw, raw)
	}
	wantError(t, rec.PayloadErr, queue.ErrPoison)
	if rec.Attempt != 1 || len(rec.Attempts) != 1 || !strings.Contains(rec.LastError, queue.ErrPoison.Error()) {
		t.Errorf("attempt %d, history %+v, last error %q; want one attempt that names the poison", rec.Attempt,
			rec.Attempts, rec.LastError)
	}
	reach(b, q, good, queue.StatusDelivered)
	if n := handled.Load(); n != 1 {
		t.Errorf("the handler ran %d times; want 1, never for poison", n)
	}
}

func TestPriorityThenFirstInFirstOut(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("order", queue.Config{Priority: 3})
	var want []int64
	byPriority := map[int][]int64{}
	for _, priority := range []int{0, 9, 3, 5, 0, 9, 5, 3} {
		id := put(b, q, note{}, queue.Priority(priority))
		byPriority[priority] = append(byPriority[priority], id)
	}
	byPriority[3] = append(byPriority[3], putMany(b, q, 3)...) // the queue's own priority, in the order of the batch
	for _, priority := range []int{9, 5, 3, 0} {
		want = append(want, byPriority[priority]...)
	}
	order := make(chan int64, len(want))
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { order <- task.ID; return nil },
		queue.Concurrency(1)))
	var got []int64
	for range want {
		got = append(got, receive(t, "all tasks", order))
	}
	if !slices.Equal(got, want) {
		t.Errorf("order %v; want %v", got, want)
	}
}

// A task is not handled before it is due, by the database's clock, and soon after.
func TestDelayAndDueTime(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("due", queue.Config{})
	began := make(chan queue.Task[note], 10)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { began <- task; return nil }))
	now := value[time.Time](b, `SELECT clock_timestamp()`)
	rows := map[string][]queue.EnqueueOption{
		"a delay":            {queue.Delay(300 * time.Millisecond)},
		"a time":             {queue.DueAt(now.Add(400 * time.Millisecond))},
		"a time in the past": {queue.DueAt(now.Add(-time.Hour))},
		"no delay":           {queue.Delay(0)},
	}
	for name, opts := range rows {
		put(b, q, note{name}, opts...)
	}
	never := put(b, q, note{"never"}, queue.Delay(1<<63-1))
	for range rows {
		task := receive(t, "the tasks that are due", began)
		rec := get(b, q, task.ID)
		if early := task.DueAt.Sub(rec.ClaimedAt); early > 0 {
			t.Errorf("%s: claimed %v before it was due", task.Payload.Text, early)
		}
		if strings.Contains(task.Payload.Text, "a delay") && task.DueAt.Sub(task.CreatedAt) != 300*time.Millisecond {
			t.Errorf("due %v after it was enqueued; want 300ms", task.DueAt.Sub(task.CreatedAt))
		}
	}
	if rec := get(b, q, never); rec.Status != queue.StatusScheduled {
		t.Errorf("a task with the longest delay there is stands at %s; want scheduled", rec.Status)
	}
}

// The handler's context ends at the task's timeout, at the worker's where the task has none; the attempt counts.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("timeout", queue.Config{MaxAttempts: 1})
	causes := make(chan error, 10)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}, queue.Timeout(50*time.Millisecond)))
	for name, opts := range map[string][]queue.EnqueueOption{"the worker's": nil,
		"its own": {queue.Timeout(20 * time.Millisecond)}} {
		rec := reach(b, q, put(b, q, note{name}, opts...), queue.StatusDead)
		wantError(t, receive(t, "the context ends", causes), queue.ErrTimeout)
		if !strings.Contains(rec.LastError, queue.ErrTimeout.Error()) {
			t.Errorf("%s: last error %q; want the timeout", name, rec.LastError)
		}
	}
}

// A handler that ignores its context is let go of: its task fails, and its place is filled.
func TestHungHandlerIsAbandoned(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hung", queue.Config{Retry: atOnce})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.Attempt == 1 && task.Payload.Text == "hang" {
			<-hang
		}
		return nil
	}, queue.Concurrency(1), queue.Timeout(10*time.Millisecond)))
	hung, next := put(b, q, note{"hang"}), put(b, q, note{"next"})
	reach(b, q, next, queue.StatusDelivered)
	rec := reach(b, q, hung, queue.StatusDelivered)
	if rec.Attempt != 2 || !strings.Contains(rec.Attempts[0].Error, "did not return") {
		t.Errorf("attempt %d, history %+v; want a second attempt after the first was abandoned", rec.Attempt,
			rec.Attempts)
	}
}

// At the end of Run's context nothing more is begun, what runs may finish within the grace, and
// what was claimed ahead is given back unspent.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("shutdown", queue.Config{})
	began, finish := make(chan int64, 100), make(chan struct{})
	quick := make(chan struct{}, 1000)
	// Quick handlers first, so that the worker claims ahead.
	handler := func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "slow" {
			began <- task.ID
			<-finish
			return nil
		}
		quick <- struct{}{}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.box.Run(ctx, q.Worker(handler, queue.Concurrency(2))) }()
	putMany(b, q, 200)
	for range 200 {
		receive(t, "the quick tasks", quick)
	}
	var ids []int64
	for range 30 {
		ids = append(ids, put(b, q, note{"slow"}))
	}
	first, second := receive(t, "a slow one", began), receive(t, "another", began)
	cancel()
	eventually(t, "the others are given back", func() (string, bool) {
		counts := b.counts(q.Name())
		return fmt.Sprint(counts), counts[queue.StatusClaimed] == 2 && counts[queue.StatusPending] == len(ids)-2
	})
	select {
	case err := <-ended:
		t.Fatalf("Run returned (%v) while handlers were within their grace", err)
	default:
	}
	close(finish)
	if err := receive(t, "Run ends", ended); err != nil {
		t.Errorf("Run: %v; want nil after a clean stop", err)
	}
	for _, id := range ids {
		rec := get(b, q, id)
		switch {
		case id == first || id == second:
			if rec.Status != queue.StatusDelivered {
				t.Errorf("task %d, which ran, is %s; want delivered", id, rec.Status)
			}
		case rec.Status != queue.StatusPending || rec.Attempt != 0 || rec.LastError != "":
			t.Errorf("task %d, not begun, is %s after %d attempts (%s); want pending after 0", id, rec.Status,
				rec.Attempt, rec.LastError)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows are left; want 0", n)
	}
}

// When the grace is over the handlers' contexts end, and what they leave is given back at once, unspent.
func TestShutdownAfterTheGrace(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b = bedOn(t, b.pool, outbox.Config{Grace: shortGrace})
	q := queue.Define[note]("grace", queue.Config{})
	began, causes := make(chan struct{}, 100), make(chan error, 100)
	var id int64
	stopsInTime(t, func() (stop func()) {
		stop = b.run(q.Worker(func(ctx context.Context, _ queue.Task[note]) error {
			began <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}))
		id = put(b, q, note{"slow"}, queue.Priority(9)) // before what an earlier try has left
		receive(t, "the handler begins", began)
		return stop
	})
	wantError(t, receive(t, "its context ends", causes), queue.ErrShutdown)
	if rec := get(b, q, id); rec.Status != queue.StatusPending || rec.Attempt != 0 || len(rec.Attempts) != 0 {
		t.Errorf("%s, attempt %d, history %+v; want pending and unspent", rec.Status, rec.Attempt, rec.Attempts)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q, other := queue.Define[note]("get", queue.Config{MaxAttempts: 7}), queue.Define[note]("other", queue.Config{})
	meta := map[string]string{"trace": "abc", "ü": "\"quoted\""}
	id := put(b, q, note{"hello"}, queue.Priority(4), queue.DedupKey("key"), queue.Metadata(meta),
		queue.Delay(time.Hour))
	rec := get(b, q, id)
	if rec.ID != id || rec.Queue != "get" || rec.Payload.Text != "hello" || rec.Priority != 4 ||
		rec.DedupKey != "key" || rec.MaxAttempts != 7 ||
		rec.Attempt != 0 || rec.Status != queue.StatusScheduled || rec.DueAt.Sub(rec.CreatedAt) != time.Hour ||
		fmt.Sprint(rec.Metadata) != fmt.Sprint(meta) ||
		!rec.ClaimedAt.IsZero() || !rec.FinishedAt.IsZero() || rec.PayloadErr != nil {
		t.Errorf("%+v; want what was enqueued", rec)
	}
	_, err := other.Get(t.Context(), b.box, id)
	wantError(t, err, queue.ErrNotFound, "strunk/queue: get", "other")
	_, err = q.Get(t.Context(), nil, id)
	wantError(t, err, queue.ErrInvalid)
}

// writeTo panics where m is nil, as the runtime does.
func writeTo(m map[string]int) { m["x"] = 1 }
