package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// rounds is how often tasks are enqueued and awaited, one after the other, when a server is back. A
// worker that finds each by its looks from the bottom alone, which are half a minute apart, needs
// more than the time of soon for so many.
const rounds = 6

// putOver enqueues a task over the outages of a server, and returns its id.
func putOver(b *bed, q *queue.Queue[note], opts ...queue.EnqueueOption) (id int64) {
	b.t.Helper()
	eventually(b.t, "a task is enqueued", func() (string, bool) {
		err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
			done, err := q.Enqueue(context.Background(), tx, note{}, opts...)
			id = done.ID
			return err
		})
		return fmt.Sprint(err), err == nil
	})
	return id
}

// failoverQueue is one of the queues of TestFailoverLosesNoTask.
type failoverQueue struct {
	q    *queue.Queue[note]
	opts func(i int) []queue.EnqueueOption
}

func failoverQueues() []failoverQueue {
	none := func(int) []queue.EnqueueOption { return nil }
	key := func(i int) []queue.EnqueueOption { return []queue.EnqueueOption{queue.CustomerKey(fmt.Sprint(i % 3))} }
	limited := func(name string, l queue.Limits) *queue.Queue[note] {
		return queue.Define[note](name, queue.Config{Retry: atOnce, Limits: l})
	}
	return []failoverQueue{
		{limited("plain", queue.Limits{}), none},
		{limited("delayed", queue.Limits{}), func(int) []queue.EnqueueOption {
			return []queue.EnqueueOption{queue.Delay(100 * time.Millisecond)}
		}},
		{limited("in-order", queue.Limits{FIFO: true}), key},
		{limited("bounded", queue.Limits{Running: 2}), none},
		{limited("rated", queue.Limits{RatePerKey: queue.Rate{Count: 1000, Per: time.Second}}), key},
	}
}

// putAll enqueues n tasks in each of the queues.
func putAll(b *bed, all []failoverQueue, n int) (ids map[string][]int64) {
	ids = map[string][]int64{}
	for _, f := range all {
		for i := range n {
			ids[f.q.Name()] = append(ids[f.q.Name()], putOver(b, f.q, f.opts(i)...))
		}
	}
	return ids
}

// awaitDelivered waits until all of the tasks are delivered.
func awaitDelivered(b *bed, ids map[string][]int64) {
	b.t.Helper()
	eventually(b.t, "all tasks are delivered", func() (string, bool) {
		state, all := "", true
		for name, want := range ids {
			var n int
			err := b.pool.QueryRow(context.Background(), `SELECT count(*) FROM public.strunk_outbox WHERE id = ANY ($1)
				AND status = 'delivered'`, want).Scan(&n)
			state += fmt.Sprintf("%s: %d of %d (%v); ", name, n, len(want), err)
			all = all && err == nil && n == len(want)
		}
		return state, all
	})
}

// The server is lost with what it had committed last, and a copy that was behind takes its place
// under a process that lives on. The numbers of new tasks lie behind those that the process
// remembers, and in the copy some tasks are claimed that it has ended long ago. All tasks that are
// there begin promptly.
func TestFailoverLosesNoTask(t *testing.T) {
	t.Parallel()
	const held = 12
	server, dsn := ownServer(t, pgserver.Config{})
	testkit.NeedsInstalled(t, server.CanCopy(t.Context()))
	b := bedOn(t, dial(t, dsn), outbox.Config{})
	all := failoverQueues()
	began, finish := make(chan struct{}, 100), make(chan struct{})
	holding := queue.Define[note]("holding", queue.Config{Retry: atOnce, Limits: queue.Limits{FIFO: true}})
	handle := func(context.Context, queue.Task[note]) error { return nil }
	bindings := []outbox.Binding{holding.Worker(func(context.Context, queue.Task[note]) error {
		began <- struct{}{}
		<-finish
		return nil
	}, queue.Concurrency(held))}
	for _, f := range all {
		bindings = append(bindings, f.q.Worker(handle))
	}
	b.run(bindings...)
	awaitDelivered(b, putAll(b, all, 10))
	var claimed []int64
	for i := range held {
		claimed = append(claimed, putOver(b, holding, queue.CustomerKey(fmt.Sprint(i))))
		receive(t, "a task is claimed", began)
	}
	noError(t, server.CopyData(t.Context()))
	close(finish)
	awaitDelivered(b, map[string][]int64{"holding": claimed})
	awaitDelivered(b, putAll(b, all, 60))

	noError(t, server.StopServer(t.Context()))
	noError(t, server.UseCopy(false))
	noError(t, server.StartServer(t.Context()))
	ids := putAll(b, all, 10)
	ids["holding"] = slices.Clone(claimed)
	for i := range held {
		ids["holding"] = append(ids["holding"], putOver(b, holding, queue.CustomerKey(fmt.Sprint(i))))
	}
	awaitDelivered(b, ids)
	again := time.Now()
	for range rounds {
		awaitDelivered(b, putAll(b, all, 1))
	}
	if took := time.Since(again); took > soon {
		t.Errorf("%d rounds of tasks took %v; want each found at once", rounds, took)
	}
	if !strings.Contains(b.logs.String(), "every position is read again") {
		t.Error("the log does not say that positions are read again")
	}
}

// A crash of the server forgets a claim of its last moments, unless claims are committed synchronously: the task would
// be claimed again under the same number, beside a handler that goes on.
func TestFenceRisesOverCrashWithSyncClaims(t *testing.T) {
	t.Parallel()
	server, dsn := ownServer(t, pgserver.Config{Settings: map[string]string{"wal_writer_delay": "10s",
		"wal_writer_flush_after": "1GB"}})
	b := bedOn(t, dial(t, dsn), outbox.Config{SyncClaims: true})
	q := queue.Define[note]("fenced", queue.Config{Retry: atOnce})
	began, finish := make(chan queue.Task[note], 100), make(chan struct{})
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		began <- task
		<-finish
		return nil
	}, queue.Concurrency(3)))
	first := putOver(b, q)
	task := receive(t, "the task begins", began)
	noError(t, server.StopServer(t.Context()))
	noError(t, server.StartServer(t.Context()))
	next := putOver(b, q)
	for task.ID != next { // the oldest that is pending is claimed first
		again := receive(t, "a task begins", began)
		if again.ID == first && again.Fence <= task.Fence {
			t.Errorf("claimed again under %d, beside a handler under %d", again.Fence, task.Fence)
		}
		task = again
	}
	close(finish)
	awaitDelivered(b, map[string][]int64{"fenced": {first, next}})
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
