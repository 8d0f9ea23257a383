package queue

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// minBatchWait is how long a batch that need not wait is open for tasks that were claimed together
// with its first, should the last of them not come.
const minBatchWait = time.Millisecond

// batcher runs a batch worker's handler. Each task has an executor as in any worker, with its own
// middleware, fencing and outcome; there it joins a batch and blocks until that has been handled.
//
// Batches begin in the order in which they become due: full, or their wait over, or the worker
// asked to stop. One that must wait for another handler to return takes tasks until it is full.
type batcher struct {
	*batching
	base        context.Context // of handlers
	buffer      *prefetch
	started     func(*job) // is called when a task's batch begins
	concurrency int        // of tasks

	mu        sync.Mutex
	free      int // handlers that may begin
	inside    int // tasks that have joined, until their batch has been handled
	stopping  bool
	open      map[string]*batch // those that take another task, by key
	gathering *list.List        // of those that are not due, the oldest first
	due       []*batch
}

// batch is some tasks that are handled together. Its fields are the batcher's until it has begun.
type batch struct {
	key     string
	members []*member // fixed once it has begun
	done    chan struct{}
	place   *list.Element // among the gathering; nil once it is due
	timer   *time.Timer

	begun    bool
	released bool // its handler counts no more
	ended    int  // members whose contexts have ended since it began
	cancel   context.CancelCauseFunc
}

// member is a task in a batch.
type member struct {
	ctx  context.Context // of the task, in its middleware
	j    *job
	task any
	err  error // its outcome, once the batch is done
}

// inBatch is what a job of a batch worker has besides.
type inBatch struct {
	cancel  context.CancelCauseFunc // of the context of its attempt
	timeout *time.Timer             // ends that context
	batch   *batch                  // that it has joined; the batcher's mutex guards it
	took    time.Duration           // the handler's time, once it has been called
}

// handled is how long a task was with its handler: of an attempt that took d, in a batch, not the
// time in which that gathered.
func (i *inBatch) handled(d time.Duration) time.Duration {
	if i.took > 0 {
		return i.took
	}
	return d
}

// forever is a deadline that is never over.
const forever = 1<<63 - 1

func newBatcher(b *batching, base context.Context, starter *starter, concurrency int) *batcher {
	return &batcher{batching: b, base: base, buffer: starter.buffer, started: starter.pass,
		concurrency: concurrency, free: b.handlers,
		open: map[string]*batch{}, gathering: list.New()}
}

// start makes batches begin at once from the soft end on. stop ends that. A nil batcher does nothing.
func (b *batcher) start(soft context.Context) (stop func() bool) {
	if b == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(soft, b.hurry)
}

// attempt returns the context of one attempt. Its timeout can be stopped and started again: it does not run while the
// batch gathers.
func (b *batcher) attempt(ctx context.Context, j *job) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	j.inBatch.cancel = cancel
	j.inBatch.timeout = time.AfterFunc(j.timeout, func() { cancel(ErrTimeout) })
	return ctx, func() {
		j.inBatch.timeout.Stop()
		cancel(context.Canceled)
	}
}

// join is the work of a batch worker: it returns the task's outcome when its batch has been
// handled, or before that has begun when the task's context ends.
func (b *batcher) join(ctx context.Context, j *job) error {
	task, err := b.decode(j)
	if err != nil {
		return err
	}
	m := &member{ctx: ctx, j: j, task: task}
	bt := b.enter(m)
	select {
	case <-bt.done:
	case <-ctx.Done():
		if b.leave(bt, m) {
			return context.Cause(ctx)
		}
		<-bt.done
	}
	return m.err
}

// batchKey is the key of the batch that a task belongs in.
func (b *batcher) batchKey(j *job) string {
	if b.perKey {
		return j.key
	}
	return ""
}

// enter puts a task into the open batch of its key.
func (b *batcher) enter(m *member) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	bt := b.batchFor(m.j)
	m.j.inBatch.timeout.Stop()
	m.j.state.deadline.Store(forever)
	m.j.inBatch.batch = bt
	bt.members = append(bt.members, m)
	b.inside++
	full := len(bt.members) == b.size || m.j.possiblyStarted
	if full && b.open[bt.key] == bt {
		delete(b.open, bt.key)
	}
	if full || b.stopping || (b.wait == 0 && b.buffer.waiting.Load() == 0) {
		b.ripen(bt)
	}
	b.pump()
	return bt
}

// batchFor returns the open batch that a task belongs in. A task that is possibly started has one of its own.
func (b *batcher) batchFor(j *job) *batch {
	key := b.batchKey(j)
	if j.possiblyStarted {
		return b.add(key)
	}
	bt := b.open[key]
	if bt == nil {
		bt = b.add(key)
		b.open[key] = bt
	}
	return bt
}

func (b *batcher) add(key string) *batch {
	bt := &batch{key: key, done: make(chan struct{})}
	bt.place = b.gathering.PushBack(bt)
	bt.timer = time.AfterFunc(max(b.wait, minBatchWait), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ripen(bt)
		b.pump()
	})
	return bt
}

// ripen makes a batch due.
func (b *batcher) ripen(bt *batch) {
	if bt.place != nil {
		b.close(bt)
		b.due = append(b.due, bt)
	}
}

// close ends a batch's wait.
func (b *batcher) close(bt *batch) {
	bt.timer.Stop()
	if bt.place != nil {
		b.gathering.Remove(bt.place)
		bt.place = nil
	}
}

// leave takes out a task whose context has ended, unless its batch has begun: then the handler
// decides. A batch all of whose tasks have ended ends too.
func (b *batcher) leave(bt *batch, m *member) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !bt.begun {
		b.remove(bt, func(other *member) bool { return other == m })
		return true
	}
	if !slices.Contains(bt.members, m) {
		return true
	}
	if bt.ended++; bt.ended == len(bt.members) {
		bt.cancel(context.Cause(m.ctx))
		for _, m := range bt.members { // from now on they are overdue
			m.j.state.deadline.Store(time.Now().UnixNano())
		}
	}
	return false
}

// remove takes tasks out of a batch that has not begun, and drops it if none is left.
func (b *batcher) remove(bt *batch, which func(*member) bool) {
	n := len(bt.members)
	bt.members = slices.DeleteFunc(bt.members, which)
	b.inside -= n - len(bt.members)
	if len(bt.members) == 0 {
		b.shut(bt)
	}
}

// shut lets nothing more into a batch.
func (b *batcher) shut(bt *batch) {
	b.close(bt)
	if b.open[bt.key] == bt {
		delete(b.open, bt.key)
	}
}

// pump begins batches as long as handlers are free.
func (b *batcher) pump() {
	for b.free > 0 {
		bt := b.next()
		if bt == nil {
			return
		}
		b.begin(bt)
	}
}

// next returns the next batch that is due. When every executor's task is in here no batch can
// become fuller, and the oldest may begin.
func (b *batcher) next() *batch {
	if len(b.due) > 0 {
		bt := b.due[0]
		b.due = b.due[1:]
		return bt
	}
	if first := b.gathering.Front(); first != nil && b.inside >= b.concurrency {
		return first.Value.(*batch)
	}
	return nil
}

// begin hands a batch to the handler, without the tasks whose contexts have ended: they are about to leave.
func (b *batcher) begin(bt *batch) {
	b.shut(bt)
	b.remove(bt, func(m *member) bool { return m.ctx.Err() != nil })
	bt.begun = true
	if len(bt.members) == 0 {
		return
	}
	slices.SortFunc(bt.members, func(x, y *member) int {
		return cmp.Or(cmp.Compare(y.j.priority, x.j.priority), cmp.Compare(x.j.seq, y.j.seq))
	})
	b.free--
	timeout := bt.members[0].j.timeout
	for _, m := range bt.members {
		timeout = min(timeout, m.j.timeout)
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(b.base, contextKey{}, bt))
	bt.cancel = cancel
	ctx, stop := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	for _, m := range bt.members {
		b.started(m.j)
		m.j.timeout = timeout
		m.j.state.deadline.Store(time.Now().Add(timeout).UnixNano())
		m.j.inBatch.timeout.Reset(timeout)
	}
	go func() {
		defer cancel(context.Canceled)
		defer stop()
		b.run(ctx, bt)
	}()
}

// run calls the handler and lets its tasks go on, also when the handler ends its goroutine.
func (b *batcher) run(ctx context.Context, bt *batch) {
	began := time.Now()
	err := errors.New("the handler ended its goroutine (runtime.Goexit)")
	defer func() {
		bt.settle(err)
		for _, m := range bt.members {
			m.j.inBatch.took = time.Since(began)
		}
		bt.endAsOne(context.Cause(ctx))
		close(bt.done)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.release(bt)
	}()
	err = bt.call(ctx, b.batching)
}

// call turns a panic into an error.
func (bt *batch) call(ctx context.Context, b *batching) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		}
	}()
	tasks := make([]any, len(bt.members))
	for i, m := range bt.members {
		tasks[i] = m.task
	}
	return b.handle(ctx, tasks)
}

// settle gives each task its outcome.
func (bt *batch) settle(err error) {
	each, ok := outcomesOf(err)
	if ok && len(each) != len(bt.members) {
		err = fmt.Errorf("the batch handler returned %d Outcomes for %d tasks: it must return one for each",
			len(each), len(bt.members))
		ok = false
	}
	for i, m := range bt.members {
		if m.err = err; ok {
			m.err = each[i]
		}
	}
}

// outcomesOf finds Outcomes in what a handler returned, whose methods are the user's code: where
// they panic, the judgement of each task says so.
func outcomesOf(err error) (each Outcomes, ok bool) {
	defer func() {
		if recover() != nil {
			each, ok = nil, false
		}
	}()
	ok = errors.As(err, &each)
	return each, ok
}

// endAsOne has the tasks' contexts end with that of their batch, should they be late: why it ended decides about each.
func (bt *batch) endAsOne(cause error) {
	if cause != nil {
		for _, m := range bt.members {
			m.j.inBatch.cancel(cause)
		}
	}
}

// release lets another batch begin in the place of one that has been handled or abandoned.
func (b *batcher) release(bt *batch) {
	if bt.released {
		return
	}
	bt.released = true
	b.free++
	b.inside -= len(bt.members)
	b.pump()
}

// abandoned says that the watch has let go of a task: of the handler that has it, then, too. A nil
// batcher does nothing.
func (b *batcher) abandoned(j *job) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if bt := j.inBatch.batch; bt != nil && bt.begun && slices.ContainsFunc(bt.members,
		func(m *member) bool { return m.j == j }) {
		b.release(bt)
	}
}

// hurry makes every batch due, and each that comes.
func (b *batcher) hurry() {
	b.mu.Lock()
	b.stopping = true
	b.mu.Unlock()
	b.closeAll()
}

// closeAll makes every batch due: a task waits for them that must start alone.
func (b *batcher) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for first := b.gathering.Front(); first != nil; first = b.gathering.Front() {
		b.ripen(first.Value.(*batch))
	}
	b.pump()
}
