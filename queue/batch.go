package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Defaults and bounds of batch workers.
const (
	DefaultBatchSize = 100
	DefaultBatchWait = 100 * time.Millisecond
	// MaxBatchSize bounds BatchSize.
	MaxBatchSize = 1000
)

// BatchHandler handles several tasks at once, highest priority first and in the order of the queue
// within one. It returns nil when all are done, and an [Outcomes] when each has an outcome of its
// own; any other error, or a panic, is the outcome of every task: all have failed, or with [Snooze]
// and [Discard] all are put off or given up.
//
// The context belongs to the batch. It ends when the lease is lost, when the grace period of a
// shutdown is over, at the shortest timeout among the tasks, counted from the beginning of the
// handler, and when all of them were cancelled. A single task that is cancelled does not end it:
// see [TaskContext].
type BatchHandler[T any] func(ctx context.Context, tasks []Task[T]) error

// Outcomes is what a [BatchHandler] returns where its tasks fare differently: one entry a task, in
// their order. Nil means done; any other entry is what a handler of that task alone would have
// returned, [Snooze] and [Discard] included. Outcomes of another length fail every task.
type Outcomes []error

func (o Outcomes) Error() string {
	n, first := 0, error(nil)
	for _, err := range o {
		if err == nil {
			continue
		}
		if n++; first == nil {
			first = err
		}
	}
	if n == 0 {
		return fmt.Sprintf("all %d tasks of the batch are done", len(o))
	}
	return fmt.Sprintf("%d of %d tasks of the batch are not done; the first: %v", n, len(o), first)
}

// BatchWorker is Worker for a handler that takes several tasks at once: as soon as there are
// [BatchSize] of them, when the first has waited for [BatchWait], or when the worker is asked to
// stop. Concurrency is how many batches are handled at once; times BatchSize it may not exceed
// MaxConcurrency, for as many tasks are claimed.
//
// Everything else is each task's own: its middleware (whose context does not reach the handler, see
// [TaskContext]), its Inbox, its attempts, its place among the dead letters. A payload that cannot
// be decoded fails alone and is in no batch. A task's timeout does not run while its batch gathers.
// Queues with results have no batch workers.
func (q *Queue[T]) BatchWorker(handler BatchHandler[T], opts ...WorkerOption) *Worker[T] {
	return typedWorker[T](newBatchWorker(q.definition(), typedBatch(handler), opts))
}

// BatchSize sets how many tasks a batch has at most, 1 to MaxBatchSize; without it
// DefaultBatchSize. Of [Queue.BatchWorker] only.
func BatchSize(n int) WorkerOption {
	return workerOption(func(o *workerOptions) { o.batch.size = &n })
}

// BatchWait sets how long the first task of a batch waits for others; without it DefaultBatchWait.
// With 0 a batch is what has been claimed at the time. Of [Queue.BatchWorker] only.
func BatchWait(d time.Duration) WorkerOption {
	return workerOption(func(o *workerOptions) { o.batch.wait = &d })
}

// BatchPerKey makes batches of tasks of one key each; tasks without a key are together. Batches of
// one key may be handled at the same time. Of [Queue.BatchWorker] only.
func BatchPerKey() WorkerOption {
	return workerOption(func(o *workerOptions) { o.batch.perKey = true })
}

// TaskContext returns, in a [BatchHandler], the context of one of its tasks, which [Report] and
// [Logger] need to know whose they are. It carries what middleware has put there (a span, say), and
// ends with that of the batch, or when that task is cancelled. It does not derive from ctx. For a
// task that is not in the batch, and anywhere else, it returns ctx itself.
func TaskContext(ctx context.Context, id int64) context.Context {
	if bt, ok := ctx.Value(contextKey{}).(*batch); ok {
		for _, m := range bt.members {
			if m.j.id == id {
				return m.ctx
			}
		}
	}
	return ctx
}

// batchOptions are what was given to a worker; nil where nothing was.
type batchOptions struct {
	size   *int
	wait   *time.Duration
	perKey bool
}

func (o batchOptions) given() bool { return o.size != nil || o.wait != nil || o.perKey }

// batching is a batch worker's handler without its type, and its settings.
type batching struct {
	decode func(*job) (task any, err error)
	handle func(ctx context.Context, tasks []any) error // nil where there is none

	handlers, size int
	wait           time.Duration
	perKey         bool
}

func typedBatch[T any](handler BatchHandler[T]) *batching {
	b := &batching{decode: func(j *job) (any, error) { return taskOf[T](j) }}
	if handler != nil {
		b.handle = func(ctx context.Context, erased []any) error {
			tasks := make([]Task[T], len(erased))
			for i, task := range erased {
				tasks[i] = task.(Task[T])
			}
			return handler(ctx, tasks)
		}
	}
	return b
}

// newBatchWorker makes a worker with an executor for each task of all the batches that are handled at once.
func newBatchWorker(def *definition, b *batching, opts []WorkerOption) *worker {
	w := newWorker(def, nil, opts)
	w.batch = b
	b.handlers, b.size, b.wait = w.opts.concurrency, DefaultBatchSize, DefaultBatchWait
	b.perKey = w.opts.batch.perKey
	if size := w.opts.batch.size; size != nil {
		b.size = *size
	}
	if wait := w.opts.batch.wait; wait != nil {
		b.wait = *wait
	}
	if len(w.batchProblems()) == 0 {
		w.opts.concurrency = b.handlers * b.size
	}
	return w
}

// batchProblems says what is wrong with the options of a batch worker, or with batch options elsewhere.
func (w *worker) batchProblems() (errs []error) {
	b := w.batch
	if b == nil {
		if w.opts.batch.given() {
			errs = append(errs, errors.New("BatchSize, BatchWait and BatchPerKey are options of BatchWorker"))
		}
		return errs
	}
	if w.opts.slots != nil {
		return append(errs, errors.New("Slots: a batch handler has many tasks at once; use Worker, or Concurrency"))
	}
	if err := checkRange("BatchSize", b.size, 1, MaxBatchSize); err != nil {
		errs = append(errs, err)
	} else if b.handlers >= 1 && b.handlers <= MaxConcurrency && b.handlers*b.size > MaxConcurrency {
		errs = append(errs, fmt.Errorf("Concurrency, BatchSize: %d batches of %d tasks are more than %d tasks at "+
			"once; lower one of them",
			b.handlers, b.size, MaxConcurrency))
	}
	if b.wait < 0 || b.wait > maxDuration {
		errs = append(errs, fmt.Errorf("BatchWait: %v is not from 0s to %v", b.wait, maxDuration))
	}
	if w.opts.isolation != "" {
		errs = append(errs, errors.New("Isolation: a batch handler has no transaction"))
	}
	if w.def.results {
		errs = append(errs, errors.New("BatchWorker: the handlers of this queue return results, which a batch "+
			"handler cannot; use Worker"))
	}
	return errs
}

// handleOne handles a batch of one task, for a dry run.
func (b *batching) handleOne(ctx context.Context, j *job) error {
	task, err := b.decode(j)
	if err != nil {
		return err
	}
	m := &member{ctx: ctx, j: j, task: task}
	bt := &batch{members: []*member{m}}
	bt.settle(bt.call(context.WithValue(ctx, contextKey{}, bt), b))
	return m.err
}
