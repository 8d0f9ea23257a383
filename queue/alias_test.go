package queue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// renamed is a queue under its name, and as older processes know it.
func renamed(cfg queue.Config) (now, before *queue.ResultQueue[[]int, sum]) {
	before = queue.DefineWithResult[[]int, sum]("sums", cfg)
	cfg.Aliases = []string{"adder", "sums"}
	return queue.DefineWithResult[[]int, sum]("totals", cfg), before
}

func TestAliasesAreWorkedAndKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		worker       func(q *queue.ResultQueue[[]int, sum]) outbox.Binding
	}{
		{"plain", "the handler is the same for each name", plainAdder},
		{"in a transaction", "so is that of a transaction", func(q *queue.ResultQueue[[]int, sum]) outbox.Binding {
			return q.WorkerInTx(func(ctx context.Context, _ *outbox.OwnedTx, task queue.Task[[]int]) (sum, error) {
				return add(ctx, task)
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			now, before := renamed(queue.Config{MaxAttempts: 2, Retry: atOnce})
			early := put(b, before.Queue, []int{1, 2})
			dies := put(b, before.Queue, []int{-1})
			cancelled := put(b, before.Queue, []int{3}, queue.Delay(time.Hour))
			if _, err := now.Result(t.Context(), b.box, early); !errors.Is(err, queue.ErrNoResult) {
				t.Errorf("before it is worked: %v", err)
			}
			if state, err := now.Cancel(t.Context(), b.box, cancelled, "renamed"); state != queue.CancelDone ||
				err != nil {
				t.Errorf("cancel under the new name: %v, %v", state, err)
			}
			b.run(c.worker(now))
			late := put(b, before.Queue, []int{4, 5})
			fresh := put(b, now.Queue, []int{6, 7})
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			for id, want := range map[int64]int{early: 3, late: 9, fresh: 13} {
				if s, err := now.Wait(ctx, b.box, id); err != nil || s.Total != want {
					t.Errorf("task %d: %+v, %v; want %d", id, s, err, want)
				}
			}
			if s, err := before.Wait(ctx, b.box, early); err != nil || s.Total != 3 {
				t.Errorf("an older process that waits: %+v, %v", s, err)
			}
			if _, err := now.Wait(ctx, b.box, dies); !errors.Is(err, queue.ErrDead) {
				t.Errorf("the one that dies: %v", err)
			}
			names := map[int64]string{early: "sums", dies: "sums", fresh: "totals"}
			for id, want := range names {
				if rec := get(b, now.Queue, id); rec.Queue != want {
					t.Errorf("task %d is of queue %q; want %q", id, rec.Queue, want)
				}
			}
		})
	}
}

// The concurrency is that of all names together, and neither waits for the other to run dry.
func TestAliasesShareTheConcurrency(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	before, now := queue.Define[note]("old", queue.Config{}),
		queue.Define[note]("new", queue.Config{Aliases: []string{"old"}})
	const n = 300
	putMany(b, before, n)
	putMany(b, now, n)
	var running, most, done atomic.Int64
	var first [2]atomic.Int64 // how many were done when the first of each name was
	claimed, over := make(chan struct{}), make(chan struct{})
	b.run(now.Worker(func(_ context.Context, task queue.Task[note]) error {
		<-claimed
		if r := running.Add(1); r > most.Load() {
			most.Store(r)
		}
		i := 0
		if task.Queue == "old" {
			i = 1
		}
		time.Sleep(time.Millisecond) // so that handlers meet
		running.Add(-1)
		d := done.Add(1)
		first[i].CompareAndSwap(0, d)
		if d == 2*n {
			close(over)
		}
		return nil
	}, queue.Concurrency(3)))
	eventually(t, "tasks of both names are claimed", func() (string, bool) {
		old, of := b.counts("old"), b.counts("new")
		return fmt.Sprint(old, of), old[queue.StatusClaimed] > 0 && of[queue.StatusClaimed] > 0
	})
	close(claimed)
	receive(t, "all tasks", over)
	if m := most.Load(); m > 3 {
		t.Errorf("%d handlers ran at once; the concurrency is 3", m)
	}
	for i, name := range []string{"new", "old"} {
		if f := first[i].Load(); f > n {
			t.Errorf("the first task of %q came after %d others", name, f-1)
		}
	}
}

// A handler that does not return, and one that ends its goroutine, give their turns back.
func TestAliasesGetTurnsBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	before, now := queue.Define[note]("old", queue.Config{Retry: atOnce, MaxAttempts: 1}),
		queue.Define[note]("new", queue.Config{Aliases: []string{"old"}, Retry: atOnce, MaxAttempts: 1})
	stuck, quits := put(b, before, note{"stuck"}, queue.Timeout(time.Millisecond)), put(b, before, note{"quits"})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	b.run(now.Worker(func(_ context.Context, task queue.Task[note]) error {
		switch task.Payload.Text {
		case "stuck":
			<-release
		case "quits":
			runtime.Goexit()
		}
		return nil
	}, queue.Concurrency(1)))
	reach(b, now, stuck, queue.StatusDead)
	reach(b, now, quits, queue.StatusDead)
	reach(b, now, put(b, now, note{"x"}), queue.StatusDelivered)
	reach(b, now, put(b, before, note{"x"}), queue.StatusDelivered)
}

func TestPauseIsForAliasesToo(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	before, now := queue.Define[note]("old", queue.Config{}),
		queue.Define[note]("new", queue.Config{Aliases: []string{"old"}})
	if err := now.Pause(t.Context(), b.box, ""); err != nil {
		t.Fatal(err)
	}
	for _, q := range []*queue.Queue[note]{before, now} {
		if paused, err := q.Paused(t.Context(), b.box); !paused || err != nil {
			t.Errorf("%s: paused %v, %v", q.Name(), paused, err)
		}
	}
	id := put(b, before, note{"x"})
	var begun atomic.Bool
	b.run(now.Worker(func(context.Context, queue.Task[note]) error { begun.Store(true); return nil }))
	eventually(t, "both names have a worker", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers WHERE queue IN ('old', 'new')`)
		return "", n == 2
	})
	if begun.Load() {
		t.Error("a task of a paused queue was begun")
	}
	if err := now.Resume(t.Context(), b.box); err != nil {
		t.Fatal(err)
	}
	reach(b, now, id, queue.StatusDelivered)
}

// Old and new processes run side by side: each task is handled once, by either.
func TestAliasesBesideOlderProcesses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	before, now := queue.Define[note]("old", queue.Config{}),
		queue.Define[note]("new", queue.Config{Aliases: []string{"old"}})
	handled := make(chan int64, 1000)
	handle := func(_ context.Context, task queue.Task[note]) error { handled <- task.ID; return nil }
	stopOld := b.run(before.Worker(handle))
	b.run(now.Worker(handle))
	want, got := map[int64]int{}, map[int64]int{}
	for range 5 {
		for _, q := range []*queue.Queue[note]{before, now} {
			for _, id := range putMany(b, q, 40) {
				want[id] = 1
			}
		}
	}
	for range len(want) / 2 {
		got[receive(t, "a task", handled)]++
	}
	stopOld()
	for range len(want) - len(want)/2 {
		got[receive(t, "a task", handled)]++
	}
	if !maps.Equal(want, got) {
		t.Errorf("%d tasks were handled %v", len(want), got)
	}
}

func TestBadAliases(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	handle := func(context.Context, queue.Task[note]) error { return nil }
	worker := func(name string, aliases ...string) outbox.Binding {
		return queue.Define[note](name, queue.Config{Aliases: aliases}).Worker(handle)
	}
	for _, c := range []struct {
		name, reason string
		bindings     []outbox.Binding
		want         []string
	}{
		{"its own name", "it says nothing", []outbox.Binding{worker("a", "a")},
			[]string{`define "a": Config.Aliases: "a": it is the queue's own name`}},
		{"twice", "one of them is a slip", []outbox.Binding{worker("a", "b", "b")},
			[]string{`Config.Aliases: "b": it is there twice`}},
		{"no name", "it can be no queue's", []outbox.Binding{worker("a", "", strings.Repeat("x", 201))},
			[]string{`Config.Aliases: "": the name`, `xxx…": the name`}},
		{"another's name", "its tasks would be handled by " +
			"either", []outbox.Binding{worker("a", "b"), worker("b")},
			[]string{`the queue "a" has the alias "b", which another binding has as its name`}},
		{"another's alias", "the same", []outbox.Binding{worker("a", "c"), worker("b", "c")},
			[]string{`the queue "a" and "b" both have the alias "c"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := b.box.Run(t.Context(), c.bindings...)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Run: %v; want %q, for %s", err, want, c.reason)
				}
			}
		})
	}
	bad := queue.Define[note]("a", queue.Config{Aliases: []string{"a"}})
	err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := bad.Enqueue(t.Context(), tx, note{})
		return err
	})
	wantError(t, err, queue.ErrInvalid, "Aliases")
}
