// Package queue is strunk's task queue: typed background jobs that are enqueued in the caller's own transaction and
// handled at least once, by any process that runs a worker.
//
// A queue is declared once, as a value that producers and consumers share:
//
//	var Emails = queue.Define[SendEmail]("emails", queue.Config{MaxAttempts: 5})
//
// A producer enqueues within its transaction. If that rolls back, there was no task:
//
//	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
//		if err := save(ctx, tx.Pgx(), order); err != nil {
//			return err
//		}
//		_, err := Emails.Enqueue(ctx, tx, SendEmail{To: order.Email})
//		return err
//	})
//
// A transaction of your own becomes an [outbox.Tx] by box.Tx(tx), where it is one of pgx, or by box.SQLTx(tx), where it
// is one of database/sql or of an ORM on it.
//
// A worker handles the tasks, in as many processes as run it:
//
//	err := box.Run(ctx, Emails.Worker(send, queue.Concurrency(8)))
//
// A handler that returns nil has done its task. With an error the task is tried again after a backoff, and is a dead
// letter once its attempts are spent: [DeadLetters] and [RetryDead]. [Snooze], [Hold] and [Discard] are answers of
// another kind.
//
// # Guarantees
//
// A task that was committed is handled at least once. It may be handled twice where a process is killed, or its
// connection is lost, between the end of the handler and the completion; a worker that was given up as lost changes
// nothing any more, and its handlers' contexts end. A handler whose effects are in the same database can have them
// exactly once: [Queue.WorkerInTx], or the option [Inbox]. An attempt is spent by a handler that started, and by
// nothing else. Tasks start in the order of their priority, then first in first out; they run side by side. Order
// within a key is [Limits.FIFO].
//
// # Where to go on
//
// Options of a task: [Delay], [DueAt], [Priority], [Dedup], [CustomerKey], [MaxAttempts], [Timeout], [Metadata]; the
// defaults of a queue are [Config]. Options of a worker: [Concurrency], [Retry], [VisibilityTimeout]; workers of many
// kinds share [Slots]. [Limits] bounds what runs over all processes, [Queue.BatchWorker] handles tasks together,
// [DefineWithResult] has answers, [Middleware] stands around enqueues and handlers. [Queue.Cancel], [Queue.Pause] and
// [Queue.Get] are for operators, package queuetest for tests of your handlers.
//
// Queues and workers are safe for use by several goroutines.
package queue
