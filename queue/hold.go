package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/strunk-go/strunk/internal/core"
)

// Hold puts the queue of the handler that calls it on hold: no process begins a task of it before until,
// by the database's clock (at least a second, at most a year from now). It is for a handler that was
// told to come back later, as by HTTP's status 429. Return what Hold returns: the task is given back,
// its attempt not spent, and runs after the hold. In a handler in a transaction the transaction is
// rolled back; the hold stays.
//
// Running handlers go on, and other processes begin nothing more as soon as they have heard, as with
// [Queue.Pause]. A hold that is there already ends at the later time. Operators see it and lift it:
// package ops, `strunk holds`.
//
// Where the hold could not be stored, what Hold returns says so, and puts off this task alone.
// Errors: [ErrNotInHandler], [ErrNoDatabase], [ErrInvalid].
func Hold(ctx context.Context, until time.Time) error {
	j, ok := ctx.Value(contextKey{}).(*job)
	if bt, batch := ctx.Value(contextKey{}).(*batch); batch && len(bt.members) > 0 {
		j, ok = bt.members[0].j, true
	}
	if !ok {
		return fmt.Errorf("strunk/queue: hold: %w", ErrNotInHandler)
	}
	return j.hold(ctx, "", until)
}

// HoldKey is [Hold] for the tasks with the customer key of the handler's task alone: those of other
// keys go on. A [BatchHandler] says by [TaskContext] which task is meant, and returns what HoldKey
// returns as the outcome of that task. Errors: those of Hold; a task without a customer key is [ErrInvalid].
func HoldKey(ctx context.Context, until time.Time) error {
	if bt, ok := ctx.Value(contextKey{}).(*batch); ok {
		return fmt.Errorf("strunk/queue: hold key: the context is that of %d tasks, hold with TaskContext(ctx, "+
			"task.ID): %w", len(bt.members), ErrNotInHandler)
	}
	j, ok := ctx.Value(contextKey{}).(*job)
	if !ok {
		return fmt.Errorf("strunk/queue: hold key: %w", ErrNotInHandler)
	}
	if j.key == "" {
		return fmt.Errorf("strunk/queue: hold key: queue %q, task %d has no customer key: %w", j.queue, j.id,
			ErrInvalid)
	}
	return j.hold(ctx, j.key, until)
}

func (j *job) hold(ctx context.Context, key string, until time.Time) error {
	if j.remote {
		return fmt.Errorf("strunk/queue: hold: the worker is at a broker and has no database: %w", ErrNoDatabase)
	}
	if j.holder == nil { // in a test
		return &onHold{until}
	}
	err := j.holder.hold(ctx, j, key, until)
	if err == nil {
		return &onHold{until}
	}
	err = fmt.Errorf("strunk/queue: hold: queue %q, task %d: %w", j.queue, j.id, err)
	if core.SQLState(err) == pgerrcode.InvalidParameterValue {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return &unspent{err: err, delay: min(max(time.Until(until), time.Second), maxDuration)}
}

// onHold is the error of a handler that has put its queue, or its key, on hold.
type onHold struct{ until time.Time }

func (h *onHold) Is(target error) bool { return target == ErrSnoozed }

func (h *onHold) Error() string { return "on hold until " + h.until.UTC().Format(time.RFC3339) }

// holder puts the queue of a session on hold, under all names of the queue.
type holder struct {
	host    core.Host
	names   []string
	control *controller
}

// sqlHold puts queue $1 on hold until $2, or where it is not empty customer key $3 of it, on behalf of $4.
const sqlHold = `SELECT {schema}.strunk_hold($1::text, $2::timestamptz, $3::text, '', $4::text)`

// hold returns when the hold is committed and this process knows of it.
func (h *holder) hold(ctx context.Context, j *job, key string, until time.Time) error {
	for _, name := range h.names {
		err := core.Write(ctx, h.host.Pool(), core.Statement{SQL: h.host.SQL(sqlHold),
			Args: []any{name, until, key, core.PlainText(fmt.Sprintf("task %d, %s", j.id, processName()))}})
		if err != nil {
			return err
		}
		h.host.WakeLocal(core.TopicControl(name))
	}
	if err := h.control.refresh(ctx); err != nil {
		logWarning(h.host, j.queue, "looking for the hold failed; trying again", err)
	}
	return nil
}
