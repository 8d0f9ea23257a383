package queue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// quietRuntime is a runtime that only logs, to nobody.
type quietRuntime struct{ core.Runtime }

func (quietRuntime) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newTestExecutor makes an executor with no database behind it, and a buffer of this size.
func newTestExecutor(queue string, size int) *executor {
	def := newDefinition(queue, Config{})
	opts, background := newWorkerOptions(def, nil), context.Background()
	buffer := &prefetch{ready: make(chan *job, size), room: make(chan struct{}, 1)}
	starter := newStarter(background, quietRuntime{}, newWorker(def, nil, nil), 1, newLatency(), buffer)
	return &executor{rt: quietRuntime{}, starter: starter, life: core.Life{Soft: background, Hard: background},
		base: background, buffer: buffer,
		latency: newLatency(), control: newController(quietRuntime{}, queue, time.Second, nil),
		judge:     newJudge(def, opts, false, quietRuntime{}.Logger()),
		completer: newCompleter(quietRuntime{}, def, nil, nil, nil)}
}

// However the end of a handler and the watch that lets go of it meet, each task is settled once and each slot is
// counted once.
func TestAbandonAgainstReturn(t *testing.T) {
	t.Parallel()
	const jobs, concurrency = 3000, 4
	x := newTestExecutor("abandon", jobs)
	x.concurrency = concurrency
	x.work = func(_ context.Context, j *job) error {
		switch j.id % 3 {
		case 0:
			runtime.Gosched()
		case 1:
			time.Sleep(20 * time.Microsecond)
		}
		if j.id%50 == 0 {
			runtime.Goexit()
		}
		return nil
	}
	x.start()
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // every job that runs is overdue
		for {
			select {
			case <-stop:
				return
			default:
				x.abandonOverdue(time.Now().Add(2*time.Minute), time.Time{})
			}
		}
	})
	for id := range int64(jobs) {
		x.buffer.ready <- &job{id: id, timeout: time.Minute, maxAttempts: 12}
	}
	x.buffer.close()
	x.wait()
	close(stop)
	watch.Wait()

	settled := map[int64]int{}
	abandoned := 0
	for _, o := range x.completer.pending {
		settled[o.job.id]++
		if errors.Is(o.err, ErrTimeout) {
			abandoned++
		}
	}
	for id := range int64(jobs) {
		if settled[id] != 1 {
			t.Errorf("task %d was settled %d times; want once", id, settled[id])
		}
	}
	if n := x.buffer.running.Load(); n != 0 {
		t.Errorf("%d slots count as running at the end; want 0", n)
	}
	if abandoned == 0 {
		t.Error("no handler was abandoned: the test has lost its point")
	}
}
