package queue

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// newTestClaimer makes a claimer that can only count.
func newTestClaimer(concurrency int, buffer *prefetch, l *latency) *claimer {
	p := newPassage(time.Hour, buffer)
	return &claimer{concurrency: concurrency, buffer: buffer, latency: l, passage: p, limits: &limiter{passage: p}}
}

// All handlers of the greatest Concurrency can run at once.
func TestRoomForTheGreatestConcurrency(t *testing.T) {
	t.Parallel()
	c := newTestClaimer(MaxConcurrency, newPrefetch(), newLatency())
	c.buffer.running.Store(MaxConcurrency - 1)
	c.buffer.unsettled.Store(MaxConcurrency - 1)
	if n := c.free(); n != 1 {
		t.Errorf("with one of %d handlers free the worker claims %d; want 1", MaxConcurrency, n)
	}
}

// A claimer that looks for room while a claimed task waits for its executor looks again when that
// has begun it, though none ends.
func TestRoomIsSeenWhenATaskBegins(t *testing.T) {
	t.Parallel()
	x := newTestExecutor("room", 1)
	x.concurrency = 3
	c := newTestClaimer(x.concurrency, x.buffer, x.latency)
	began, finish := make(chan bool), make(chan bool)
	x.work = func(context.Context, *job) error { began <- true; <-finish; return nil }
	x.start()
	x.buffer.waiting.Add(1)
	x.buffer.ready <- &job{id: 1, timeout: time.Hour}
	<-began
	x.buffer.waiting.Add(1) // claimed, not handed over yet
	room := make(chan bool)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(x.buffer.room) > 0 {
		<-x.buffer.room
	}
	go func() { room <- c.awaitRoom(ctx) }()
	for range 1000 {
		runtime.Gosched() // it waits by now, most likely
	}
	x.buffer.ready <- &job{id: 2, timeout: time.Hour}
	<-began
	if !<-room {
		t.Error("a free place was not seen within 30 s")
	}
	close(finish)
	x.buffer.close()
	x.wait()
}
