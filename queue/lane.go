package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lane is one goroutine of an executor. An abandoned lane ends when its handler returns; another has taken its place.
type lane struct {
	job atomic.Pointer[job]

	mu     sync.Mutex
	base   context.Context // of its tasks, one after the other, until one is cancelled
	cancel context.CancelCauseFunc
}

// enter makes j the lane's task and returns what the context of its handler derives from.
func (l *lane) enter(base context.Context, j *job) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.base == nil || l.base.Err() != nil {
		l.base, l.cancel = context.WithCancelCause(base)
	}
	l.job.Store(j)
	return l.base
}

// close lets go of what the contexts of the lane's tasks derived from; none runs any more.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(context.Canceled)
	}
}

func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.job.Store(nil)
}

// cancelTask ends the context of the task with this id if this lane is running it, and it was claimed before looked,
// when the request was there. From then on the task is overdue, unless it is in a batch, which may go on without it.
func (l *lane) cancelTask(id int64, text string, looked time.Time, inBatch bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.job.Load()
	if j == nil || j.id != id || looked.Before(j.arrived) || !j.state.cancelled.CompareAndSwap(nil, &cancelled{text}) {
		return
	}
	if !inBatch {
		j.state.deadline.Store(time.Now().UnixNano())
	}
	l.cancel(j.state.cancelled.Load())
}
