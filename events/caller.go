package events

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// sqlIdle bounds how long the server lets a handler's transaction stand still ($1, in milliseconds): a process that is
// frozen in it must not hold its locks past the lease.
const sqlIdle = `SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true)`

// caller calls the handler.
type caller struct {
	t       *tenure
	latency *latency
	counted *counted
}

func newCaller(t *tenure, l *latency) *caller {
	return &caller{t: t, latency: l, counted: newCounted(t)}
}

// call runs the handler, in a transaction where it needs one, in which what is settled comes last.
// gone says that another goroutine has the lane by now.
func (c *caller) call(l *lane, items []*item, settled settlement) (gone bool, err error) {
	began := time.Now()
	c.counted.began(items, began)
	deadline := began.Add(c.t.opts.timeout)
	due := deadline.UnixNano()
	ctx := core.NewCallContext(l.base, deadline, ErrTimeout)
	defer ctx.End()
	if c.t.work.inTx {
		held := &holding{}
		l.held.Store(held)
		l.due.Store(due)
		err = c.inTx(ctx, held, items, settled)
	} else {
		l.due.Store(due)
		err = c.protect(ctx, nil, items)
	}
	took := time.Since(began)
	c.latency.busy.Add(int64(took))
	if !l.due.CompareAndSwap(due, 0) {
		return true, nil
	}
	if err == nil || c.t.base.Err() == nil { // what ended with its tenure has not failed
		c.counted.ran(items, took, err)
	}
	if err != nil && errors.Is(context.Cause(ctx), ErrTimeout) {
		err = fmt.Errorf("%w after %v: %w", ErrTimeout, c.t.opts.timeout, err)
	}
	return false, err
}

func (c *caller) inTx(ctx context.Context, held *holding, items []*item, settled settlement) error {
	tx, err := c.t.rt.Box().(*outbox.Box).Begin(ctx, outbox.WithTxOptions(core.PlainTx))
	if err != nil {
		return err
	}
	held.hold(tx)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // without effect after a commit
	limit := c.t.opts.lease * 2 / 3
	if _, err := tx.Pgx().Exec(ctx, sqlIdle, fmt.Sprint(limit.Milliseconds())); err != nil {
		return err
	}
	if err := c.protect(ctx, tx, items); err != nil {
		return err
	}
	if err := settled.in(ctx, tx); err != nil {
		return err
	}
	err = tx.Commit(ctx)
	switch {
	case err == nil:
		settled.committed()
	case core.AnswerLost(err):
		c.t.reload("a commit was not answered: the cursor tells whether it took place")
	}
	return err
}

// protect turns a panic into an error.
func (c *caller) protect(ctx context.Context, tx *outbox.OwnedTx, items []*item) (err error) {
	finished := false
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		} else if !finished {
			err = errors.New("the handler ended its goroutine (runtime.Goexit)")
		}
	}()
	err = c.t.work.call(ctx, tx, items)
	finished = true
	return err
}
