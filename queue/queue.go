package queue

import (
	"context"
	"reflect"

	"github.com/strunk-go/strunk/outbox"
)

// Queue is a declared queue of tasks with payload T. Make it with Define; the zero value returns errors.
type Queue[T any] struct {
	decodable
	def *definition
}

// Define declares a queue. It keeps what is wrong with its arguments and reports it on the first use and from
// outbox.Box.Run, so that it can stand in a package-level var. T may be anything that encoding/json can write and read,
// json.RawMessage included.
func Define[T any](name string, cfg Config) *Queue[T] {
	def := newDefinition(name, cfg)
	def.checkDedup(reflect.TypeFor[T]())
	return newQueue[T](def)
}

// Name returns the queue's name, which is the outbox row's key.
func (q *Queue[T]) Name() string { return q.definition().name }

// Enqueue adds one task to the transaction. Everything is checked before the transaction is
// touched, and under READ COMMITTED the transaction survives every error of strunk's own. With a
// DedupKey that a task waiting or running in this queue holds already, it returns that task's id
// and Duplicate.
//
// Errors: [ErrInvalid] for a payload or option that cannot be stored, [ErrDedupBusy], [outbox.ErrTxDone],
// [outbox.ErrInvalidTx]; the database's own are wrapped.
func (q *Queue[T]) Enqueue(ctx context.Context, tx outbox.Tx, payload T, opts ...EnqueueOption) (Enqueued, error) {
	done, err := enqueue(ctx, tx, "enqueue", []Item{q.Item(payload, opts...)})
	if err != nil {
		return Enqueued{}, err
	}
	return done[0], nil
}

// EnqueueBatch adds one task for each payload, with the same options, in one statement. The answers are in the order of
// the payloads, and so are the tasks in the queue. None is added if one is refused. A DedupKey cannot be shared: use
// EnqueueAll.
func (q *Queue[T]) EnqueueBatch(ctx context.Context, tx outbox.Tx, payloads []T, opts ...EnqueueOption) ([]Enqueued,
	error) {
	return enqueueBatch(ctx, tx, q.definition(), payloads, opts)
}

// EnqueueAll adds tasks of any queues, each with options of its own, in one statement. The answers
// are in the order of the items. None is added if one is refused. Items with equal dedup keys are
// duplicates of the first.
func EnqueueAll(ctx context.Context, tx outbox.Tx, items ...Item) ([]Enqueued, error) {
	return enqueue(ctx, tx, "enqueue all", items)
}

// Item is a task to be enqueued, made by [Queue.Item].
type Item struct {
	def  *definition
	doc  []byte
	opts enqueueOptions
	err  error
	// replaced says that middleware has set doc.
	replaced bool
}

// Item prepares a task for EnqueueAll. What is wrong with it is reported there.
func (q *Queue[T]) Item(payload T, opts ...EnqueueOption) Item {
	return newItem(q.definition(), payload, opts)
}

// Enqueued is the answer to an enqueue.
type Enqueued struct {
	// ID is the task's id: the row's id in strunk_outbox.
	ID int64
	// Duplicate says that the dedup key is held: ID is the holder's, and nothing was added.
	Duplicate bool
	// Replaced says that the holder was given the new payload (see [ReplaceWaiting]).
	Replaced bool
}

// Handler handles one task. It returns nil when the task is done; an error or a panic fails the attempt. Tasks are
// delivered at least once, so effects outside the database must be idempotent. The context ends at the task's timeout,
// when the grace period of a shutdown is over, and when the lease is lost (its cause is then [ErrLeaseLost]).
type Handler[T any] func(ctx context.Context, task Task[T]) error

// Worker makes a consumer of this queue for [outbox.Box.Run]. It starts nothing.
func (q *Queue[T]) Worker(handler Handler[T], opts ...WorkerOption) *Worker[T] {
	return typedWorker[T](newWorker(q.definition(), typedWork(handler), opts))
}

// Get reads one task of this queue, whatever its status. Errors: [ErrNotFound].
func (q *Queue[T]) Get(ctx context.Context, box *outbox.Box, id int64) (Record[T], error) {
	return get[T](ctx, box, q.definition(), id, "get")
}
