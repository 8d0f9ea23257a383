package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// HandlerInTx handles one task in a transaction of strunk's. What it writes, enqueues and publishes through tx, the inbox
// mark and the task's completion are committed together when it returns nil, and only if the task is still this worker's;
// on an error or a panic they are rolled back together, and the attempt has failed. So the effects on this database happen
// once, however often the task is delivered. Do not commit or roll back tx.Pgx().
type HandlerInTx[T any] func(ctx context.Context, tx *outbox.OwnedTx, task Task[T]) error

// WorkerInTx makes a consumer whose handlers each have a transaction: READ COMMITTED unless [Isolation] says otherwise. Each
// running handler holds a connection of the pool, so the pool needs more of them than the worker's Concurrency. A
// transaction that is idle for three quarters of the lease ([VisibilityTimeout]) is ended by the server, so that a
// frozen process cannot hold its locks beyond it.
func (q *Queue[T]) WorkerInTx(handler HandlerInTx[T], opts ...WorkerOption) *Worker[T] {
	return &Worker[T]{w: newWorkerInTx(q.definition(), typedWorkInTx(handler), opts)}
}

// Isolation sets the isolation level of the transactions of WorkerInTx. At the stricter levels a conflict (SQLSTATE 40001)
// fails the attempt, which is then tried again as after any error.
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

// attach returns a worker's handler as a session calls it: in its transaction or its inbox, and in its middleware.
func (w *worker) attach(s *session) work {
	inner := w.work
	if w.batch != nil {
		s.batches = newBatcher(s, w.batch)
		inner = s.batches.join
	}
	switch handle := inner; {
	case w.inTx != nil:
		inner = func(ctx context.Context, j *job) error { return s.runInTx(ctx, j, w.inTx) }
	case w.opts.inbox != nil:
		inner = func(ctx context.Context, j *job) error { return s.runOnce(ctx, j, handle) }
	}
	chain := middlewares(s.rt, w.def.cfg.Middleware, w.opts.middleware)
	for _, m := range chain {
		if m.Dead != nil {
			s.undertakers = append(s.undertakers, m)
		}
	}
	return through(inner, chain)
}

// unspent is an error that is not the attempt's: the task is tried again after delay without spending one.
type unspent struct {
	err   error
	delay time.Duration
}

func (u *unspent) Error() string { return u.err.Error() }
func (u *unspent) Unwrap() error { return u.err }

// runInTx is one attempt: begin, the inbox, the handler, the completion, commit.
func (s *session) runInTx(ctx context.Context, j *job, fn workInTx) error {
	tx, err := outbox.BoxOf(seal, s.rt).Begin(ctx, outbox.WithTxOptions(s.txOptions(j)))
	if err != nil {
		return &unspent{err, DefaultBackoff.First}
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // without effect after a commit
	first, err := s.markInTx(ctx, tx, j)
	if err != nil {
		return err
	}
	if first {
		if err := fn(ctx, tx, j); err != nil {
			return err
		}
	}
	if err := s.storeInTx(ctx, tx, j); err != nil {
		return err
	}
	return s.commit(ctx, tx, j)
}

// txOptions begin and end a handler's transaction. Each is one message: the end is the fenced completion and the COMMIT,
// which is not reached where the completion raises an error. They hold no text but numbers and the quoted schema.
func (s *session) txOptions(j *job) pgx.TxOptions {
	level := s.opts.isolation
	if level == "" {
		level = pgx.ReadCommitted
	}
	idle := (s.opts.lease - s.opts.lease/4).Milliseconds()
	complete := fmt.Sprintf(s.rt.SQL(sqlCompleteInTx), s.lease.ID(), j.id, j.claim, !s.def.cfg.DiscardDelivered)
	return pgx.TxOptions{
		BeginQuery:  fmt.Sprintf(`BEGIN ISOLATION LEVEL %s READ WRITE; SET LOCAL idle_in_transaction_session_timeout = %d`, level, idle),
		CommitQuery: complete,
	}
}

// sqlCompleteInTx ends a handler's transaction; host.SQL caches by text, so the numbers are put in afterwards.
const sqlCompleteInTx = `SELECT {schema}.strunk_complete_or_fail(%d, %d, %d, %t); COMMIT`

// commit commits, and finds out what happened where the answer does not say.
func (s *session) commit(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	err := tx.Commit(ctx)
	switch {
	case err == nil:
		j.settled = true
		return nil
	case core.SQLState(err) == core.CodeLeaseLost:
		return fmt.Errorf("strunk/queue: the handler's transaction was rolled back: %w: %w", ErrLeaseLost, err)
	case core.IsMissingPartition(err):
		_, makeErr := s.rt.Pool().Exec(ctx, s.rt.SQL(sqlPartitions))
		return &unspent{errors.Join(err, makeErr), 0}
	case core.AnswerLost(err):
		ended, askErr := s.finisher.query(ctx, s.rt.SQL(sqlEnded), []any{s.lease.ID(), []int64{j.id}, []int64{j.claim}})
		if askErr == nil && len(ended) == 1 {
			j.settled = true
			return nil
		}
	}
	return err
}
