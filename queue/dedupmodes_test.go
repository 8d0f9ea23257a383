package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// enqueueOnce enqueues one note in a transaction of its own.
func enqueueOnce(b *bed, q *queue.Queue[note], text string, opts ...queue.EnqueueOption) (done queue.Enqueued) {
	b.t.Helper()
	b.in(func(tx *outbox.OwnedTx) (err error) {
		done, err = q.Enqueue(context.Background(), tx, note{text}, opts...)
		return err
	})
	return done
}

func TestDedupConcurrentEnqueuers(t *testing.T) {
	t.Parallel()
	const enqueuers = 50
	for _, c := range []struct {
		name, reason string
		mode         queue.DedupMode
	}{
		{"until done", "the unique index", queue.UntilDone},
		{"while waiting", "the same index", queue.WhileWaiting},
		{"for a period", "the index, and the table of periods", queue.ForPeriod(time.Hour)},
		{"replace", "losers change the winner's row", queue.ReplaceWaiting},
		{"debounce", "losers put the winner's row off", queue.Debounce(time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, outboxtest.MaxConns(enqueuers+2))
			q := queue.Define[note]("dedup", queue.Config{})
			start := make(chan struct{})
			answers := make([]queue.Enqueued, enqueuers)
			var wg sync.WaitGroup
			for i := range enqueuers {
				wg.Go(func() {
					<-start
					err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) (err error) {
						answers[i], err = q.Enqueue(context.Background(), tx, note{fmt.Sprint(i)},
							queue.Dedup("k", c.mode))
						if i%5 == 0 && err == nil {
							err = context.Canceled // some roll back: the others are right all the same
						}
						return err
					})
					if i%5 != 0 && err != nil {
						t.Error(err)
					}
				})
			}
			close(start)
			wg.Wait()
			if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'dedup'`); n != 1 {
				t.Fatalf("%d enqueuers made %d tasks; want 1: %s", enqueuers, n, c.reason)
			}
			id, winners := value[int64](b, `SELECT id FROM public.strunk_outbox WHERE key = 'dedup'`), 0
			for i, a := range answers {
				if i%5 == 0 {
					continue
				}
				if a.ID != id {
					t.Errorf("enqueuer %d was told of task %d; want %d", i, a.ID, id)
				}
				if !a.Duplicate {
					winners++
				}
			}
			if winners != 1 {
				t.Errorf("%d enqueuers were told that they were first; want 1", winners)
			}
		})
	}
}

// One successor may wait while one runs, and no more.
func TestDedupWhileWaiting(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("successor", queue.Config{Retry: atOnce})
	began, finish := make(chan string, 10), make(chan error)
	add := func(text string) queue.Enqueued {
		return enqueueOnce(b, q, text, queue.Dedup("k", queue.WhileWaiting))
	}
	first := add("first")
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		began <- task.Payload.Text
		return <-finish
	}, queue.Concurrency(1)))
	receive(t, "the first begins", began)
	second := add("second")
	third := add("third")
	if second.Duplicate || !third.Duplicate || third.ID != second.ID {
		t.Errorf("while one runs: %+v, then %+v; want a successor, and then it", second, third)
	}
	finish <- fmt.Errorf("the first fails and waits again") // beside the successor: it holds the key no more
	if text := receive(t, "the successor or the retry begins", began); text != "second" && text != "first" {
		t.Error(text)
	}
	finish <- nil
	receive(t, "the other begins", began)
	finish <- nil
	reach(b, q, first.ID, queue.StatusDelivered)
	reach(b, q, second.ID, queue.StatusDelivered)
}

func TestDedupForPeriod(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("period", queue.Config{})
	add := func() queue.Enqueued { return enqueueOnce(b, q, "x", queue.Dedup("k", queue.ForPeriod(time.Hour))) }
	first := add()
	stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	reach(b, q, first.ID, queue.StatusDelivered)
	stop()
	if again := add(); !again.Duplicate || again.ID != first.ID {
		t.Errorf("after the task is done, within the period: %+v; want the first", again)
	}
	b.exec(`UPDATE public.strunk_dedups SET expires_at = clock_timestamp() - interval '1 second'`)
	next := add()
	if next.Duplicate {
		t.Errorf("after the period: %+v; want a new task", next)
	}
	b.exec(`UPDATE public.strunk_dedups SET expires_at = clock_timestamp() - interval '1 second'`)
	if again := add(); !again.Duplicate || again.ID != next.ID {
		t.Errorf("after the period, with the task still waiting: %+v; want it", again)
	}
}

func TestDedupReplacesTheWaitingPayload(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("replace", queue.Config{})
	add := func(text string) queue.Enqueued {
		return enqueueOnce(b, q, text, queue.Dedup("k", queue.ReplaceWaiting),
			queue.Metadata(map[string]string{"from": text}))
	}
	before := add("one")
	enqueueOnce(b, q, "behind")
	if done := add("two"); !done.Replaced || !done.Duplicate || done.ID != before.ID {
		t.Errorf("the second enqueue: %+v; want the first task, replaced", done)
	}
	var got []string
	finish := make(chan struct{})
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if got = append(got, task.Payload.Text+"/"+task.Metadata["from"]); len(got) == 2 {
			close(finish)
		}
		return nil
	}, queue.Concurrency(1)))
	receive(t, "both tasks", finish)
	if want := "[two/two behind/]"; fmt.Sprint(got) != want {
		t.Errorf("handled %v; want %v: the newest payload in the oldest place", got, want)
	}
	if done := add("three"); done.Duplicate {
		t.Errorf("after the first was done: %+v; want a new task", done)
	}
}

func TestDedupDebounce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("debounce", queue.Config{})
	const due = `SELECT extract(epoch FROM due_at - created_at)::float8 FROM public.strunk_outbox WHERE id = $1`
	put := func(key string, mode queue.DedupMode) queue.Enqueued {
		return enqueueOnce(b, q, "x", queue.Dedup(key, mode))
	}
	first := put("k", queue.Debounce(time.Hour))
	before := value[float64](b, due, first.ID)
	if again := put("k", queue.Debounce(time.Hour)); !again.Replaced || again.ID != first.ID {
		t.Errorf("the second enqueue: %+v", again)
	}
	if after := value[float64](b, due, first.ID); after <= before {
		t.Errorf("due %v s after it was enqueued, before the second enqueue %v; want it put off", after, before)
	}
	capped := put("capped", queue.DebounceUpTo(time.Hour, time.Minute))
	put("capped", queue.DebounceUpTo(time.Hour, time.Minute))
	if at := value[float64](b, due, capped.ID); at != 3600 && at != 60 {
		t.Errorf("with a bound of 60 s the task is due after %v s", at)
	}
	// A task that has become pending and is not claimed yet is put off, too.
	b.exec(`UPDATE public.strunk_outbox_tasks SET status = 'pending' WHERE id = $1`, first.ID)
	put("k", queue.Debounce(time.Hour))
	if rec := get(b, q, first.ID); rec.Status != queue.StatusScheduled {
		t.Errorf("a pending task is %s after another enqueue; want scheduled", rec.Status)
	}
}

// Modes may be mixed with plain items in one batch, in any order; the answers are in item order.
func TestDedupModesInOneBatch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q, other := queue.Define[note]("batch", queue.Config{}), queue.Define[note]("another", queue.Config{})
	var done []queue.Enqueued
	b.in(func(tx *outbox.OwnedTx) (err error) {
		done, err = queue.EnqueueAll(context.Background(), tx,
			q.Item(note{"z"}, queue.Dedup("z", queue.ReplaceWaiting)),
			q.Item(note{"plain"}, queue.Priority(3)),
			other.Item(note{"a"}, queue.Dedup("a", queue.WhileWaiting)),
			q.Item(note{"until done"}, queue.DedupKey("d"), queue.Delay(time.Hour)),
			q.Item(note{"z again"}, queue.Dedup("z", queue.ReplaceWaiting)))
		return err
	})
	for i := range 4 {
		if done[i].Duplicate || done[i].ID == 0 || (i > 0 && done[i].ID <= done[i-1].ID) {
			t.Errorf("item %d: %+v; want new tasks with ids in item order", i+1, done)
		}
	}
	if !done[4].Replaced || done[4].ID != done[0].ID {
		t.Errorf("the fifth item: %+v; want the first, replaced", done[4])
	}
	if rec := get(b, q, done[0].ID); rec.Payload.Text != "z again" {
		t.Errorf("payload %q", rec.Payload.Text)
	}
	if rec := get(b, q, done[1].ID); rec.Priority != 3 || rec.Status != queue.StatusPending {
		t.Errorf("the plain item: %+v", rec)
	}
	if rec := get(b, q, done[3].ID); rec.Status != queue.StatusScheduled || rec.DedupKey != "d" {
		t.Errorf("the delayed item: %+v", rec)
	}
}

func TestDedupOptionsAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("checked", queue.Config{})
	for _, c := range []struct {
		name, reason string
		opts         []queue.EnqueueOption
	}{
		{"no mode", "nil says nothing", []queue.EnqueueOption{queue.Dedup("k", nil)}},
		{"no window", "a period of nothing is no period", []queue.EnqueueOption{queue.Dedup("k", queue.ForPeriod(0))}},
		{"two due times", "the debounce is one", []queue.EnqueueOption{queue.Dedup("k", queue.Debounce(time.Second)),
			queue.Delay(time.Second)}},
	} {
		err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := q.Enqueue(t.Context(), tx, note{}, c.opts...)
			return err
		})
		wantError(t, err, queue.ErrInvalid)
	}
}
