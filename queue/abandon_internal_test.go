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

// However the end of a handler and the watch that lets go of it meet, each task is settled once and each slot is
// counted once.
func TestAbandonAgainstReturn(t *testing.T) {
	t.Parallel()
	const jobs, concurrency = 3000, 4
	def := newDefinition("abandon", Config{})
	s := &session{worker: &worker{def: def, opts: newWorkerOptions(def, nil)}, rt: quietRuntime{},
		life: core.Life{Soft: context.Background(), Hard: context.Background()}, base: context.Background(),
		ready: make(chan *job, jobs), room: make(chan struct{}, 1)}
	s.opts.concurrency = concurrency
	s.finisher = newFinisher(s)
	s.work = func(_ context.Context, j *job) error {
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
	s.slots.start(s)
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // every job that runs is overdue
		for {
			select {
			case <-stop:
				return
			default:
				s.slots.abandonOverdue(time.Now().Add(2*time.Minute), time.Time{})
			}
		}
	})
	for id := range int64(jobs) {
		s.ready <- &job{id: id, timeout: time.Minute, maxAttempts: 12}
	}
	close(s.ready)
	s.slots.wait()
	close(stop)
	watch.Wait()

	settled := map[int64]int{}
	abandoned := 0
	for _, o := range s.finisher.pending {
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
	if n := s.slots.running(); n != 0 {
		t.Errorf("%d slots count as running at the end; want 0", n)
	}
	if abandoned == 0 {
		t.Error("no handler was abandoned: the test has lost its point")
	}
}
