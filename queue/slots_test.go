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
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// held is a queue whose handlers run until the test lets them return.
type heldQueue struct {
	*queue.Queue[note]
	running atomic.Int64
	finish  chan struct{} // each that is received lets one handler return
	ended   chan struct{} // a handler that was let return is counted as running no more
}

func newHeldQueue(name string) *heldQueue { return newHeldQueueWith(name, queue.Config{}) }

func newHeldQueueWith(name string, cfg queue.Config) *heldQueue {
	return &heldQueue{Queue: queue.Define[note](name, cfg), finish: make(chan struct{}), ended: make(chan struct{})}
}

func (h *heldQueue) worker(opts ...queue.WorkerOption) *queue.Worker[note] {
	return h.Worker(func(ctx context.Context, _ queue.Task[note]) error {
		h.running.Add(1)
		select {
		case <-h.finish:
			h.running.Add(-1)
			h.ended <- struct{}{}
			return nil
		case <-ctx.Done():
			h.running.Add(-1)
			return context.Cause(ctx)
		}
	}, opts...)
}

// end lets one handler return, and waits until it is counted as running no more.
func (h *heldQueue) end(t *testing.T) {
	t.Helper()
	select {
	case h.finish <- struct{}{}:
		<-h.ended
	case <-time.After(soon):
		t.Fatalf("no handler of queue %s ran within %v", h.Name(), soon)
	}
}

// awaitRunning waits until so many handlers of each queue run, and go on to do so for a moment.
func awaitRunning(t *testing.T, queues []*heldQueue, want ...int64) {
	t.Helper()
	since := time.Now()
	eventually(t, fmt.Sprintf("%d handlers run", want), func() (string, bool) {
		n := make([]int64, len(queues))
		for i, q := range queues {
			n[i] = q.running.Load()
		}
		if !slices.Equal(n, want) {
			since = time.Now()
		}
		return fmt.Sprint(n), time.Since(since) > 30*time.Millisecond
	})
}

// awaitWaiting waits until so many workers wait for a slot: one that becomes free before goes to whoever does.
func awaitWaiting(t *testing.T, slots *queue.SharedSlots, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d workers wait for a slot", want), func() (string, bool) {
		n := queue.WaitForSlots(slots)
		return fmt.Sprint(n), n == want
	})
}

// One worker alone may have all slots but those that are kept for others, which can have theirs at any moment. What has
// no slot is not claimed, and so left to other processes.
func TestSlotsOfABusyProcess(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{Grace: 10 * time.Millisecond})
	slots := queue.Slots(4)
	flood, urgent, other := newHeldQueue("flood"), newHeldQueue("urgent"), newHeldQueue("other")
	all := []*heldQueue{flood, urgent, other}
	putMany(b, flood.Queue, 20)
	b.run(flood.worker(slots), urgent.worker(slots, queue.MinSlots(1)), other.worker(slots))
	awaitRunning(t, all, 3, 0, 0)
	putMany(b, urgent.Queue, 2)
	awaitRunning(t, all, 3, 1, 0)
	if c := b.counts("flood"); c[queue.StatusClaimed] != 3 {
		t.Errorf("the tasks are %v; want 3 claimed, as many as there are slots", c)
	}

	ids := putMany(b, other.Queue, 10)
	away := bedOn(t, b.pool, outbox.Config{}) // another process
	away.run(other.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	for _, id := range ids {
		reach(b, other.Queue, id, queue.StatusDelivered)
	}

	// A slot that becomes free goes to the worker that has the fewest; a queue that is paused waits for none.
	if err := urgent.Pause(t.Context(), b.box, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has heard of the pause", func() (string, bool) {
		return "", strings.Contains(b.logs.String(), "a queue was paused")
	})
	urgent.end(t) // its minimum is kept
	awaitRunning(t, all, 3, 0, 0)
	if err := urgent.Resume(t.Context(), b.box); err != nil {
		t.Fatal(err)
	}
	awaitRunning(t, all, 3, 1, 0)
	flood.end(t)
	awaitRunning(t, all, 3, 1, 0)
	putMany(b, urgent.Queue, 5)
	awaitWaiting(t, slots, 2) // and flood
	flood.end(t)
	awaitRunning(t, all, 2, 2, 0)
}

// Slots that become free one by one go over to where they are due, by weight, and stay there.
func TestSlotsGoOverByWeight(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{Grace: 10 * time.Millisecond})
	slots := queue.Slots(8)
	light, heavy := newHeldQueue("light"), newHeldQueue("heavy")
	all := []*heldQueue{light, heavy}
	putMany(b, light.Queue, 50)
	b.run(light.worker(slots), heavy.worker(slots, queue.SlotWeight(3)))
	awaitRunning(t, all, 8, 0)
	putMany(b, heavy.Queue, 50)
	awaitWaiting(t, slots, 1) // light has all
	eight := func() {
		eventually(t, "all slots are had", func() (string, bool) {
			l, h := light.running.Load(), heavy.running.Load()
			return fmt.Sprint(l, h), l+h == 8
		})
		awaitWaiting(t, slots, 2)
	}
	for light.running.Load() > 2 {
		light.end(t)
		eight()
	}
	awaitRunning(t, all, 2, 6)
	for range 5 {
		light.end(t)
		eight()
		heavy.end(t)
		eight()
	}
	awaitRunning(t, all, 2, 6)

	// A queue that is paused wants none.
	if err := heavy.Pause(t.Context(), b.box, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has heard of the pause", func() (string, bool) {
		return "", strings.Contains(b.logs.String(), "a queue was paused")
	})
	for range 6 {
		heavy.end(t)
	}
	awaitRunning(t, all, 8, 0)
}

// A claimer that waits for a slot when its queue is paused wants none from then on, and its part goes to others. Limits
// keep the workers from claiming ahead: nothing else has them wait.
func TestPausedQueueWantsNoSlots(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{Grace: 10 * time.Millisecond})
	slots := queue.Slots(4)
	limited := queue.Config{Limits: queue.Limits{Running: 100}}
	light, heavy := newHeldQueueWith("light", limited), newHeldQueueWith("heavy", limited)
	all := []*heldQueue{light, heavy}
	putMany(b, heavy.Queue, 20)
	b.run(light.worker(slots), heavy.worker(slots, queue.SlotWeight(3)))
	awaitRunning(t, all, 0, 4)
	putMany(b, light.Queue, 20)
	wait := func(claimers int) {
		eventually(t, fmt.Sprintf("%d claimers wait for a slot", claimers), func() (string, bool) {
			n := queue.ClaimsWaitForSlots(slots)
			return fmt.Sprint(n), n == claimers
		})
	}
	wait(1) // heavy has all that it may have
	heavy.end(t)
	awaitRunning(t, all, 1, 3)
	wait(2)
	if err := heavy.Pause(t.Context(), b.box, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has heard of the pause", func() (string, bool) {
		return "", strings.Contains(b.logs.String(), "a queue was paused")
	})
	for range 3 {
		heavy.end(t)
	}
	awaitRunning(t, all, 4, 0)
}

// Boxes of one process share slots; all names of a queue have those of one worker; and handlers that end their
// goroutine, panic or do not return give theirs back.
func TestSlotsComeBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	slots := queue.Slots(2)
	before := queue.Define[note]("old", queue.Config{MaxAttempts: 1})
	now := queue.Define[note]("new", queue.Config{Aliases: []string{"old"}, Retry: atOnce, MaxAttempts: 1})
	plain := queue.Define[note]("plain", queue.Config{Retry: atOnce})
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	var running, most atomic.Int64
	handler := func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text != "stuck" { // the slot of one that is left behind is free again
			n := running.Add(1)
			defer running.Add(-1)
			if n > most.Load() {
				most.Store(n)
			}
		}
		switch task.Payload.Text {
		case "stuck":
			<-never
		case "quits":
			runtime.Goexit()
		case "panics":
			panic("test")
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	stuck := put(b, before, note{"stuck"}, queue.Timeout(time.Millisecond))
	quits, panics := put(b, now, note{"quits"}), put(b, before, note{"panics"})
	b.run(now.Worker(handler, slots))
	away := bedOn(t, b.pool, outbox.Config{})
	away.run(plain.Worker(handler, slots, queue.Concurrency(1)))
	reach(b, now, stuck, queue.StatusDead)
	reach(b, now, quits, queue.StatusDead)
	reach(b, now, panics, queue.StatusDead)
	var last [3]int64
	for i, q := range []*queue.Queue[note]{before, now, plain} {
		ids := putMany(b, q, 40)
		last[i] = ids[len(ids)-1]
	}
	reach(b, now, last[0], queue.StatusDelivered)
	reach(b, now, last[1], queue.StatusDelivered)
	reach(b, plain, last[2], queue.StatusDelivered)
	if m := most.Load(); m != 2 {
		t.Errorf("%d handlers ran at once; want 2, as there are slots", m)
	}
}

// What is wrong with slots is reported before anything starts, and what was refused keeps nothing.
func TestSlotProblems(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	handled := make(chan struct{}, 2)
	handler := func(context.Context, queue.Task[note]) error { handled <- struct{}{}; return nil }
	worker := func(name string, opts ...queue.WorkerOption) outbox.Binding {
		return queue.Define[note](name, queue.Config{}).Worker(handler, opts...)
	}
	slots := queue.Slots(10)
	for _, c := range []struct {
		says     string
		bindings []outbox.Binding
	}{
		{"Slots: 0 is not from 1", []outbox.Binding{worker("a", queue.Slots(0))}},
		{"Slots: 0 is not from 1", []outbox.Binding{worker("a", (*queue.SharedSlots)(nil))}},
		{"MinSlots and SlotWeight are options of workers that share Slots", []outbox.Binding{worker("a",
			queue.MinSlots(1))}},
		{"MinSlots: 11 is not from 0 to 10", []outbox.Binding{worker("a", slots, queue.MinSlots(11))}},
		{"MinSlots: 4 is not from 0 to 3", []outbox.Binding{worker("a", slots, queue.MinSlots(4),
			queue.Concurrency(3))}},
		{"SlotWeight: 0 is not from 1", []outbox.Binding{worker("a", slots, queue.SlotWeight(0))}},
		{"the minimums of 2 workers that share 10 slots are 11 together", []outbox.Binding{
			worker("a", slots, queue.MinSlots(5)), worker("b", slots, queue.MinSlots(6))}},
		{"a batch handler has many tasks at once", []outbox.Binding{queue.Define[note]("a", queue.Config{}).BatchWorker(
			func(context.Context, []queue.Task[note]) error { return nil }, slots)}},
	} {
		err := b.box.Run(t.Context(), c.bindings...)
		if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Run: %v; want one that says %q", err, c.says)
		}
	}
	put(b, queue.Define[note]("a", queue.Config{}), note{})
	stop := b.run(worker("a", slots, queue.MinSlots(5)), worker("b", slots, queue.MinSlots(5)))
	receive(t, "the worker runs", handled)
	stop() // and then the slots are for others
	b.run(worker("c", slots, queue.MinSlots(10)))()

	// Of handlers in transactions no more hold a connection at once than there are slots.
	inTx := func(slots *queue.SharedSlots) {
		var all []outbox.Binding
		for _, name := range []string{"d", "e"} {
			q := queue.Define[note](name, queue.Config{})
			put(b, q, note{})
			all = append(all, q.WorkerInTx(func(_ context.Context, _ *outbox.OwnedTx, task queue.Task[note]) error {
				return handler(t.Context(), task)
			}, slots))
		}
		stop := b.run(all...)
		receive(t, "the first handler", handled)
		receive(t, "the second handler", handled)
		stop()
	}
	enough := int(b.pool.Config().MaxConns) - 3
	inTx(queue.Slots(enough))
	if log := b.logs.String(); strings.Contains(log, "too few connections") {
		t.Errorf("Run warns of a pool with 3 connections more than there are slots: %s", log)
	}
	inTx(queue.Slots(enough + 1))
	if log := b.logs.String(); !strings.Contains(log, fmt.Sprintf("handlers=%d", enough+1)) {
		t.Errorf("Run does not warn of a pool with 2 connections more than there are slots: %s", log)
	}
}
