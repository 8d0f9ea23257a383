package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Trial is what came of an attempt that package queuetest made.
type Trial struct {
	// Status is where the task would stand: delivered, pending or scheduled (for another attempt), or dead.
	Status Status
	// Err is the attempt's error; nil where it succeeded.
	Err error
	// Delay is the wait for the next attempt.
	Delay time.Duration
	// Unspent says that the attempt would not count.
	Unspent bool
	// Result is the result's JSON, for a queue with results.
	Result []byte
}

const (
	sqlTrialRead = `SELECT payload::text, metadata::text, created_at, attempts::integer, max_attempts::integer FROM {schema}.strunk_outbox WHERE id = $1::bigint`
	sqlTrialDrop = `DELETE FROM {schema}.strunk_outbox WHERE id = $1::bigint`
	sqlWaiting   = `SELECT id, payload::text, metadata::text, created_at, coalesce(due_at, created_at), priority::integer, max_attempts::integer, coalesce(dedup_key, ''),
	coalesce(limit_key, '') FROM {schema}.strunk_outbox WHERE kind = 'task' AND key = $1::text AND status IN ('scheduled', 'pending') ORDER BY id`
	sqlTrialSave = `SAVEPOINT strunk_trial`
	sqlTrialUndo = `ROLLBACK TO SAVEPOINT strunk_trial`
)

// Trial works one task within a transaction, for package queuetest: enqueued, read back, handled in its middleware, and
// removed. A handler in a transaction has the same transaction, in a savepoint that a failure undoes.
func (w *Worker[T]) Trial(ctx context.Context, _ core.Seal, tx *outbox.OwnedTx, payload T, opts []EnqueueOption) (Trial, error) {
	def := w.Binding(seal).(*worker).def
	done, err := enqueue(ctx, tx, "trial", []Item{newItem(def, payload, opts)})
	if err != nil {
		return Trial{}, err
	}
	t, id := tx.Core(seal), done[0].ID
	j := &job{id: id, queue: def.name, timeout: w.w.opts.timeout, logger: t.Host().Logger()}
	var doc string
	var meta *string
	err = queryEach(ctx, t, sqlTrialRead, []any{id}, func(rows core.Rows) error {
		err := rows.Scan(&doc, &meta, &j.createdAt, &j.attempt, &j.maxAttempts)
		j.attempt++
		return err
	})
	if err != nil {
		return Trial{}, err
	}
	j.payload, j.dueAt = []byte(doc), j.createdAt
	if meta != nil {
		j.metadataJSON = []byte(*meta)
	}
	o := applyEnqueue(opts)
	j.key, j.dedupKey = orElse(o.limitKey, ""), orElse(o.dedupKey, "")
	if o.timeout != nil {
		j.timeout = *o.timeout
	}
	outcome := w.w.try(ctx, tx, j)
	return outcome, queryEach(ctx, t, sqlTrialDrop, []any{id}, nil)
}

// try runs the handler and says what a worker would make of what it returned.
func (w *worker) try(ctx context.Context, tx *outbox.OwnedTx, j *job) Trial {
	host := tx.Core(seal).Host()
	inner := w.work
	switch {
	case w.inTx != nil:
		inner = func(ctx context.Context, j *job) error { return tryInTx(ctx, tx, j, w.inTx) }
	case w.batch != nil:
		inner = w.batch.try
	}
	chained := through(inner, middlewares(host, w.def.cfg.Middleware, w.opts.middleware))
	ctx, cancel := context.WithTimeoutCause(context.WithValue(ctx, contextKey{}, j), j.timeout, ErrTimeout)
	defer cancel()
	err := guard(ctx, j, chained)
	s := &session{worker: w}
	o := s.outcome(j, err, context.Cause(ctx))
	trial := Trial{Status: StatusDelivered, Err: o.err, Delay: o.delay, Unspent: o.refund}
	if err != nil && trial.Err == nil {
		trial.Err = err
	}
	switch {
	case o.kind == outcomeBury:
		trial.Status = StatusDead
	case o.kind == outcomeRetry && o.delay > 0:
		trial.Status = StatusScheduled
	case o.kind == outcomeRetry:
		trial.Status = StatusPending
	case j.result != nil:
		trial.Result = []byte(*j.result)
	}
	return trial
}

func tryInTx(ctx context.Context, tx *outbox.OwnedTx, j *job, fn workInTx) (err error) {
	t := tx.Core(seal)
	if err := queryEach(ctx, t, sqlTrialSave, nil, nil); err != nil {
		return err
	}
	succeeded := false
	defer func() {
		if !succeeded {
			err = errors.Join(err, queryEach(context.WithoutCancel(ctx), t, sqlTrialUndo, nil, nil))
		}
	}()
	if err := fn(ctx, tx, j); err != nil {
		return err
	}
	succeeded = true
	return nil
}

func guard(ctx context.Context, j *job, w work) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		}
	}()
	return w(ctx, j)
}

// Waiting returns the tasks of the queue that a transaction sees as scheduled or pending, in the order of their ids, for package
// queuetest.
func (q *Queue[T]) Waiting(ctx context.Context, _ core.Seal, tx outbox.Tx) (tasks []Task[T], err error) {
	t, err := usable(ctx, tx, "waiting")
	if err != nil {
		return nil, err
	}
	def := q.definition()
	if def.err != nil {
		return nil, def.err
	}
	chain := middlewares(t.Host(), def.cfg.Middleware)
	return tasks, queryEach(ctx, t, sqlWaiting, []any{def.name}, func(rows core.Rows) error {
		j := &job{queue: def.name}
		var doc string
		var meta *string
		if err := rows.Scan(&j.id, &doc, &meta, &j.createdAt, &j.dueAt, &j.priority, &j.maxAttempts, &j.dedupKey, &j.key); err != nil {
			return err
		}
		if j.payload = []byte(doc); meta != nil {
			j.metadataJSON = []byte(*meta)
		}
		if err := readThrough(ctx, j, chain); err != nil {
			return err
		}
		task, err := taskOf[T](j)
		tasks = append(tasks, task)
		return err
	})
}

// queryEach runs a statement and hands each row to scan.
func queryEach(ctx context.Context, t core.Tx, sql string, args []any, scan func(core.Rows) error) error {
	err := t.Query(ctx, t.Host().SQL(sql), args, func(rows core.Rows) error {
		for rows.Next() {
			if scan == nil {
				continue
			}
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: %w", err)
	}
	return nil
}
