package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// slot is one goroutine of an executor. An abandoned slot ends when its handler returns; another has taken its place.
type slot struct {
	job atomic.Pointer[job]

	mu     sync.Mutex
	base   context.Context // of its tasks, one after the other, until one is cancelled
	cancel context.CancelCauseFunc
}

// enter makes j the slot's task and returns what the context of its handler derives from.
func (sl *slot) enter(base context.Context, j *job) context.Context {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.base == nil || sl.base.Err() != nil {
		sl.base, sl.cancel = context.WithCancelCause(base)
	}
	sl.job.Store(j)
	return sl.base
}

func (sl *slot) leave() {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.job.Store(nil)
}

// cancelTask ends the context of the task with this id if this slot is running it. From then on the task is overdue,
// unless it is in a batch, which may go on without it.
func (sl *slot) cancelTask(id int64, text string, inBatch bool) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	j := sl.job.Load()
	if j == nil || j.id != id || !j.state.cancelled.CompareAndSwap(nil, &cancelled{text}) {
		return
	}
	if !inBatch {
		j.state.deadline.Store(time.Now().UnixNano())
	}
	sl.cancel(j.state.cancelled.Load())
}
