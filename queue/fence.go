package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// fence is the right to write for tasks that were claimed under one lease. What is written carries
// the token of the task, and is refused where that no longer holds.
type fence struct {
	host   core.Host
	worker int64         // the lease's id
	idle   time.Duration // how long a guarded transaction may be idle
}

func newFence(host core.Host, worker int64, lease time.Duration) *fence {
	return &fence{host: host, worker: worker, idle: maxIdle(lease)}
}

// maxIdle is how long a transaction that keeps others from a task may be idle, for a lease: a frozen
// process must not keep them from it for longer.
func maxIdle(lease time.Duration) time.Duration { return lease - lease/4 }

// Guard makes a transaction of the handler's own fail unless the task is still this worker's: call
// it in each transaction that such a handler commits, before what it writes. Guard keeps the task
// from being given to another worker until the transaction ends, so that what it commits was
// written by the one handler that has the task. A handler that only has one transaction is better
// off with [Queue.WorkerInTx].
//
// Where the lease is lost, Guard returns [ErrLeaseLost] and the transaction can only be rolled
// back, also by a caller that does not look at the error. A guarded transaction that is idle for
// three quarters of the lease ([VisibilityTimeout]) is ended by the server. Guard holds until the
// end of the transaction, or of the savepoint in which it is called.
//
// ctx is the handler's; in a [BatchHandler] too, for each of its tasks. In queuetest.Work
// Guard does nothing. Errors: [ErrLeaseLost], [ErrNotInHandler], [ErrNoDatabase], [outbox.ErrTxDone],
// [outbox.ErrInvalidTx]; the database's own are wrapped.
func (t Task[T]) Guard(ctx context.Context, tx outbox.Tx) error {
	j, err := jobOf(ctx, "guard", t.ID)
	if err != nil {
		return err
	}
	if j.fence == nil { // in a test
		return nil
	}
	return j.fence.guard(ctx, tx, j)
}

// Guard is [Task.Guard] for a task of the claim.
func (c *Claim[T]) Guard(ctx context.Context, tx outbox.Tx, id int64) error {
	return c.claim.fence().guard(ctx, tx, &job{id: id, claim: manualNumber, queue: c.claim.def.name})
}

// fence is that of the claim's tasks.
func (h *manualClaim) fence() *fence { return newFence(h.host, h.worker, h.opts.lease) }

// jobOf returns the job of a task from the context of its handler, or of a batch that it is in.
func jobOf(ctx context.Context, what string, id int64) (*job, error) {
	j, ok := TaskContext(ctx, id).Value(contextKey{}).(*job)
	switch {
	case !ok || j.id != id:
		return nil, fmt.Errorf("strunk/queue: %s: task %d: %w", what, id, ErrNotInHandler)
	case j.remote:
		return nil, fmt.Errorf("strunk/queue: %s: the worker is at a broker and has no database: %w", what,
			ErrNoDatabase)
	}
	return j, nil
}

// sqlGuard keeps task $2 of worker $1, claimed under $3, from others until the end of the
// transaction, which may be idle for $4 ms.
const sqlGuard = `SELECT {schema}.strunk_guard($1::bigint, $2::bigint, $3::bigint, $4::bigint)`

func (f *fence) guard(ctx context.Context, tx outbox.Tx, j *job) error {
	t, err := usable(ctx, tx, "guard")
	if err != nil {
		return err
	}
	j.state.open.add(t)
	return f.refused(j, "guard", t.Query(ctx, f.host.SQL(sqlGuard), []any{f.worker, j.id, j.claim,
		f.idle.Milliseconds()}, noRows))
}

// refused says which task an error is about, and whether it means that the lease is lost.
func (f *fence) refused(j *job, what string, err error) error {
	if core.SQLState(err) == core.CodeLeaseLost {
		err = fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	if err != nil {
		err = fmt.Errorf("strunk/queue: %s: queue %q, task %d: %w", what, j.queue, j.id, err)
	}
	return err
}

// noRows reads rows that say nothing.
func noRows(rows core.Rows) error {
	for rows.Next() {
	}
	return rows.Err()
}

// openTxs are transactions that strunk has begun and a handler may still use. Those of a handler
// that does not return are closed: they would keep its task's row.
type openTxs struct {
	mu      sync.Mutex
	dropped bool
	list    []core.Tx
}

// add forgets transactions that have ended.
func (o *openTxs) add(t core.Tx) {
	dropper, ok := t.(core.Dropper)
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped {
		dropper.Drop()
		return
	}
	kept := o.list[:0]
	for _, other := range o.list {
		if other != t && other.Validate() == nil {
			kept = append(kept, other)
		}
	}
	o.list = append(kept, t)
}

func (o *openTxs) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped = true
	for _, t := range o.list {
		t.(core.Dropper).Drop()
	}
}
