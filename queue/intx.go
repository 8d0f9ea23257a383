package queue

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// HandlerInTx handles one task in a transaction of strunk's. What it writes, enqueues and publishes
// through tx, the inbox mark and the task's completion are committed together when it returns nil,
// and only if the task is still this worker's; on an error or a panic they are rolled back
// together, and the attempt has failed. So the effects on this database happen once, however often
// the task is delivered. Do not commit or roll back tx.Pgx().
type HandlerInTx[T any] func(ctx context.Context, tx *outbox.OwnedTx, task Task[T]) error

// WorkerInTx makes a consumer whose handlers each have a transaction: READ COMMITTED unless
// [Isolation] says otherwise. Each running handler holds a connection of the pool, so the pool
// needs more of them than the worker's Concurrency. A transaction that is idle for three quarters
// of the lease ([VisibilityTimeout]) is ended by the server, so that a frozen process cannot hold
// its locks beyond it.
func (q *Queue[T]) WorkerInTx(handler HandlerInTx[T], opts ...WorkerOption) *Worker[T] {
	return typedWorker[T](newWorkerInTx(q.definition(), typedWorkInTx(handler), opts))
}

// Isolation sets the isolation level of the transactions of WorkerInTx. At the stricter levels a
// conflict (SQLSTATE 40001) fails the attempt, which is then tried again as after any error.
func Isolation(level pgx.TxIsoLevel) WorkerOption {
	return workerOption(func(o *workerOptions) { o.isolation = level })
}

// workInTx handles a job in a transaction, without its type.
type workInTx func(ctx context.Context, tx *outbox.OwnedTx, j *job) error

func typedWorkInTx[T any](handler HandlerInTx[T]) workInTx {
	if handler == nil {
		return nil
	}
	return func(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
		task, err := taskOf[T](j)
		if err != nil {
			return err
		}
		return handler(ctx, tx, task)
	}
}

func newWorkerInTx(def *definition, inTx workInTx, opts []WorkerOption) *worker {
	w := newWorker(def, nil, opts)
	w.inTx = inTx
	return w
}
