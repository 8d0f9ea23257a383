package queue

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// All handlers of the greatest Concurrency can run at once.
func TestRoomForTheGreatestConcurrency(t *testing.T) {
	t.Parallel()
	s := &session{worker: &worker{opts: workerOptions{concurrency: MostConcurrency}}}
	s.slots.active.Store(MostConcurrency - 1)
	s.unsettled.Store(MostConcurrency - 1)
	if n := s.want(); n != 1 {
		t.Errorf("with one of %d handlers free the worker claims %d; want 1", MostConcurrency, n)
	}
}

// The feeder that looks for room while a claimed task waits for its executor looks again when that has begun it, though none ends.
func TestRoomIsSeenWhenATaskBegins(t *testing.T) {
	t.Parallel()
	s := &session{worker: &worker{def: newDefinition("room", Config{}), opts: workerOptions{concurrency: 3}}, rt: quietRuntime{},
		life: core.Life{Soft: context.Background(), Hard: context.Background()}, base: context.Background(),
		ready: make(chan *job, 1), room: make(chan struct{}, 1)}
	s.finisher = newFinisher(s)
	began, finish := make(chan bool), make(chan bool)
	s.work = func(context.Context, *job) error { began <- true; <-finish; return nil }
	s.slots.start(s)
	s.waiting.Add(1)
	s.ready <- &job{id: 1, timeout: time.Hour}
	<-began
	s.waiting.Add(1) // claimed, not handed over yet
	room := make(chan bool)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(s.room) > 0 {
		<-s.room
	}
	go func() { room <- s.awaitRoom(ctx) }()
	for range 1000 {
		runtime.Gosched() // it waits by now, most likely
	}
	s.ready <- &job{id: 2, timeout: time.Hour}
	<-began
	if !<-room {
		t.Error("a free place was not seen within 30 s")
	}
	close(finish)
	close(s.ready)
	s.slots.wait()
}
