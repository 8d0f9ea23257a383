package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

// Middleware and an inbox are around each task of a batch.
func TestBatchMiddlewareAndInbox(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("around", queue.Config{})
	type key struct{}
	var mu sync.Mutex
	seen := map[string]error{}
	around := queue.Middleware{Work: func(ctx context.Context, in *queue.Incoming,
		next func(context.Context) error) error {
		text := string(in.Payload())
		in.SetPayload([]byte(strings.ToUpper(text)))
		err := next(context.WithValue(ctx, key{}, in.ID()))
		mu.Lock()
		defer mu.Unlock()
		seen[text] = err
		return err
	}}
	no := queue.Discard("no")
	ids := putMany(b, q, 3)
	b.exec(`SELECT public.strunk_inbox_mark('around', 'task:' || $1::bigint, $1)`, ids[0])
	stop := b.run(q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
		for _, task := range tasks {
			if got := queue.TaskContext(ctx, task.ID).Value(key{}); got != task.ID {
				t.Errorf("task %d has %v from its middleware", task.ID, got)
			}
		}
		return queue.Outcomes{nil, no}
	}, queue.BatchSize(2), queue.BatchWait(never), queue.Inbox("around"), around))
	reach(b, q, ids[0], queue.StatusDelivered) // it was handled before
	reach(b, q, ids[1], queue.StatusDelivered)
	reach(b, q, ids[2], queue.StatusDiscarded)
	stop()
	if len(seen) != 3 || seen[`{"text":"1"}`] != nil || seen[`{"text":"2"}`] != nil ||
		!errors.Is(seen[`{"text":"3"}`], queue.ErrDiscarded) {
		t.Errorf("middleware saw %v; want nil, nil and the discard", seen)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_inbox WHERE consumer = 'around'`); n != 2 {
		t.Errorf("%d marks; want 2, one for each task that is done", n)
	}
}

// Reports and logs from a batch are each task's by TaskContext, and its own otherwise.
func TestBatchReportsAndLogs(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("report", queue.Config{})
	ids := putMany(b, q, 2)
	reported := make(chan error, 10)
	stop := b.run(q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
		reported <- queue.Report(ctx, 1, "")
		reported <- queue.Report(queue.TaskContext(ctx, -1), 1, "")
		for i, task := range tasks {
			reported <- queue.Report(queue.TaskContext(ctx, task.ID), 10*(i+1), "")
			queue.Logger(queue.TaskContext(ctx, task.ID)).Info("one")
		}
		queue.Logger(ctx).Info("both")
		return nil
	}, queue.BatchSize(2), queue.BatchWait(never)))
	for range 2 {
		wantError(t, receive(t, "a report", reported), queue.ErrNotInHandler, "TaskContext", "2 tasks")
	}
	for i, id := range ids {
		if err := receive(t, "a report", reported); err != nil {
			t.Error(err)
		}
		reach(b, q, id, queue.StatusDelivered)
		if p, err := q.Progress(t.Context(), b.box, id); err != nil || p.Percent != 10*(i+1) {
			t.Errorf("task %d: %+v, %v; want %d percent", id, p, err, 10*(i+1))
		}
	}
	stop()
	for _, want := range []string{"msg=one queue=report task=" + fmt.Sprint(ids[1]), "msg=both queue=report tasks=2"} {
		if !strings.Contains(b.logs.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// What a batch worker cannot do is an error from Run, and so are its options elsewhere.
func TestBatchOptionsAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	handler := func(context.Context, []queue.Task[note]) error { return nil }
	define := func(name string) *queue.Queue[note] { return queue.Define[note](name, queue.Config{}) }
	err := b.box.Run(t.Context(),
		define("a").BatchWorker(nil),
		define("b").BatchWorker(handler, queue.BatchSize(0), queue.BatchWait(-1)),
		define("c").BatchWorker(handler, queue.BatchSize(queue.MaxBatchSize+1), queue.Concurrency(1)),
		define("d").BatchWorker(handler, queue.BatchSize(1000), queue.Concurrency(11)),
		define("e").BatchWorker(handler, queue.Isolation("serializable")),
		define("f").BatchWorker(handler, queue.Concurrency(-1)),
		define("g").Worker(func(context.Context, queue.Task[note]) error { return nil }, queue.BatchPerKey()),
		define("h").WorkerInTx(func(context.Context, *outbox.OwnedTx, queue.Task[note]) error { return nil },
			queue.BatchWait(0)),
		queue.DefineWithResult[note, int]("i", queue.Config{}).BatchWorker(handler),
	)
	if err == nil {
		t.Fatal("Run accepted it")
	}
	wantError(t, err, queue.ErrInvalid, `"a": the handler is nil`, `"b": BatchSize: 0`, `"b": BatchWait: -1ns`,
		`"c": BatchSize: 1001`,
		`"d": Concurrency, BatchSize: 11 batches of 1000 tasks`, `"e": Isolation`, `"f": Concurrency: -1`,
		`"g": BatchSize, BatchWait`,
		`"h": BatchSize, BatchWait`, `"i": BatchWorker`)
	largest := define("largest")
	b.run(largest.BatchWorker(handler, queue.BatchSize(queue.MaxBatchSize), queue.BatchWait(0)))
	reach(b, largest, put(b, largest, note{}), queue.StatusDelivered)
}

// queuetest hands a batch handler one task.
func TestBatchInATrial(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("trial", queue.Config{})
	tx := queuetest.RollBack(t, b.box)
	for _, row := range []struct {
		name, reason string
		err          error
		want         queue.Status
	}{
		{"nil", "it is done", nil, queue.StatusDelivered},
		{"outcomes", "they are its own", queue.Outcomes{queue.Discard("no")}, queue.StatusDiscarded},
		{"an error", "it is tried again", errors.New("no"), queue.StatusScheduled},
		{"two outcomes", "there is one task", make(queue.Outcomes, 2), queue.StatusScheduled},
	} {
		worker := q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
			if err := queue.Report(queue.TaskContext(ctx, tasks[0].ID), 1, ""); err != nil || len(tasks) != 1 ||
				tasks[0].Payload.Text != row.name {
				t.Errorf("%s: tasks %v, report %v", row.name, tasks, err)
			}
			return row.err
		})
		if got := queuetest.Work(t, tx, worker, note{row.name}); got.Status != row.want {
			t.Errorf("%s: %s (%v); want %s: %s", row.name, got.Status, got.Err, row.want, row.reason)
		}
	}
}
