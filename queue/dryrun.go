package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
)

// dryRun works one task within a transaction, for package queuetest. A handler in a transaction has
// the same transaction, in a savepoint that a failure undoes.
type dryRun struct {
	worker *worker
	tx     *outbox.OwnedTx
	core   core.Tx
}

func newDryRun(w *worker, tx *outbox.OwnedTx) *dryRun {
	return &dryRun{worker: w, tx: tx, core: core.TxOf(tx)}
}

const (
	sqlDryRunRead = `SELECT payload::text, metadata::text, created_at, attempts::integer, max_attempts::integer,
	priority::integer, coalesce(due_at, created_at)
FROM {schema}.strunk_outbox WHERE id = $1::bigint AND kind = 'task' AND status IN ('scheduled', 'pending')`
	sqlDryRunDrop = `DELETE FROM {schema}.strunk_outbox WHERE id = $1::bigint AND kind = 'task'
	AND status IN ('scheduled', 'pending', 'claimed')`
	sqlDryRunSave = `SAVEPOINT strunk_dry_run`
	sqlDryRunUndo = `ROLLBACK TO SAVEPOINT strunk_dry_run`
)

// run enqueues the task, reads it back, has it handled and removes it.
func (d *dryRun) run(ctx context.Context, payload any, opts []EnqueueOption) (queuelink.Outcome, error) {
	done, err := enqueue(ctx, d.tx, "dry run", []Item{newTestItem(d.worker.def, payload, opts)})
	if err != nil {
		return queuelink.Outcome{}, err
	}
	j, err := d.read(ctx, done[0].ID, applyEnqueue(opts))
	if err != nil {
		return queuelink.Outcome{}, err
	}
	outcome := d.attempt(ctx, j)
	return outcome, queryEach(ctx, d.core, sqlDryRunDrop, []any{j.id}, nil)
}

func (d *dryRun) read(ctx context.Context, id int64, o enqueueOptions) (*job, error) {
	w := d.worker
	j := &job{id: id, queue: w.def.name, timeout: orElse(o.timeout, w.opts.timeout), logger: d.core.Host().Logger(),
		key: orElse(o.customerKey, ""), dedupKey: orElse(o.dedupKey, ""),
		steps: stepNames{declared: w.def.cfg.Steps}}
	var doc string
	var meta *string
	err := queryEach(ctx, d.core, sqlDryRunRead, []any{id}, func(rows core.Rows) error {
		err := rows.Scan(&doc, &meta, &j.createdAt, &j.attempt, &j.maxAttempts, &j.priority, &j.dueAt)
		j.attempt++
		return err
	})
	j.payload = []byte(doc)
	if meta != nil {
		j.metadataJSON = []byte(*meta)
	}
	return j, err
}

// attempt runs the handler and says what a worker would make of what it returned.
func (d *dryRun) attempt(ctx context.Context, j *job) queuelink.Outcome {
	w, host := d.worker, d.core.Host()
	chained := through(d.handler(), middlewares(host, w.def.cfg.Middleware, w.opts.middleware))
	ctx, cancel := context.WithTimeoutCause(context.WithValue(ctx, contextKey{}, j), j.timeout, ErrTimeout)
	defer cancel()
	err := recovered(ctx, j, chained)
	found := outcomeFound(newJudge(w.def, w.opts, w.inTx != nil, host.Logger()).decide(j, err, context.Cause(ctx)))
	if err != nil && found.Err == nil {
		found.Err = err
	}
	if j.result != nil && found.Status == string(StatusDelivered) {
		found.Result = []byte(*j.result)
	}
	return found
}

// outcomeFound is an outcome as other packages see it.
func outcomeFound(o outcome) queuelink.Outcome {
	return queuelink.Outcome{Status: string(statusAfter(o)), Err: o.err, Delay: o.delay, Unspent: o.refund}
}

// statusAfter is the status that an outcome gives a task.
func statusAfter(o outcome) Status {
	switch {
	case o.kind == outcomeDead:
		return StatusDead
	case o.kind == outcomeCancelled:
		return StatusCancelled
	case o.kind == outcomeDiscarded, o.kind == outcomeLate:
		return StatusDiscarded
	case o.kind == outcomeRetry && o.delay > 0:
		return StatusScheduled
	case o.kind == outcomeRetry:
		return StatusPending
	}
	return StatusDelivered
}

func (d *dryRun) handler() work {
	switch {
	case d.worker.inTx != nil:
		return d.inTx
	case d.worker.batch != nil:
		return d.worker.batch.handleOne
	}
	return d.worker.work
}

func (d *dryRun) inTx(ctx context.Context, j *job) (err error) {
	if err := queryEach(ctx, d.core, sqlDryRunSave, nil, nil); err != nil {
		return err
	}
	succeeded := false
	defer func() {
		if !succeeded {
			err = errors.Join(err, queryEach(context.WithoutCancel(ctx), d.core, sqlDryRunUndo, nil, nil))
		}
	}()
	if err := d.worker.inTx(ctx, d.tx, j); err != nil {
		return err
	}
	succeeded = true
	return nil
}

// sqlWaiting reads the tasks of queue $1 that wait.
const sqlWaiting = `SELECT id, payload::text, metadata::text, created_at, coalesce(due_at, created_at),
	priority::integer,
	max_attempts::integer, coalesce(dedup_key, ''), coalesce(customer_key, '')
FROM {schema}.strunk_outbox
WHERE kind = 'task' AND key = $1::text AND status IN ('scheduled', 'pending') ORDER BY id`

// eachWaiting calls add with the tasks of a queue that a transaction sees as scheduled or pending.
func eachWaiting(ctx context.Context, def *definition, tx outbox.Tx, add func(Task[json.RawMessage]) error) error {
	t, err := usable(ctx, tx, "waiting")
	if err != nil {
		return err
	}
	if def.err != nil {
		return def.err
	}
	chain := middlewares(t.Host(), def.cfg.Middleware)
	return queryEach(ctx, t, sqlWaiting, []any{def.name}, func(rows core.Rows) error {
		j := &job{queue: def.name}
		var doc string
		var meta *string
		if err := rows.Scan(&j.id, &doc, &meta, &j.createdAt, &j.dueAt, &j.priority, &j.maxAttempts,
			&j.dedupKey, &j.key); err != nil {
			return err
		}
		if j.payload = []byte(doc); meta != nil {
			j.metadataJSON = []byte(*meta)
		}
		if err := readThrough(ctx, j, chain); err != nil {
			return err
		}
		task, err := taskOf[json.RawMessage](j)
		if err != nil {
			return err
		}
		return add(task)
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
