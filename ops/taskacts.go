package ops

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Acted says which tasks an act has changed. The others had begun, or had ended, or there are none such.
type Acted struct {
	Changed   []int64 `json:"changed"`
	Unchanged []int64 `json:"unchanged"`
}

const (
	// sqlRunNow makes the waiting tasks $1 due now.
	sqlRunNow = `SELECT r FROM {schema}.strunk_reschedule($1::bigint[], {schema}.strunk_now()) r`
	// sqlReschedule makes the waiting tasks $1 due at $2.
	sqlReschedule = `SELECT r FROM {schema}.strunk_reschedule($1::bigint[], $2::timestamptz) r`
	// sqlSetPriority gives the waiting tasks $1 priority $2.
	sqlSetPriority = `SELECT r FROM {schema}.strunk_reschedule($1::bigint[], NULL, $2::integer) r`
	// sqlDiscard ends the waiting tasks $1 as discarded, for the reason $2.
	sqlDiscard = `SELECT d FROM {schema}.strunk_discard($1::bigint[], $2::text) d`
	// sqlDeleteTasks deletes the tasks $1 that wait or have ended without success.
	sqlDeleteTasks = `SELECT d FROM {schema}.strunk_delete_tasks($1::bigint[]) d`
)

// RunNow makes tasks that wait, for their due time or for another attempt, due now: of any queue, at
// most MaxChange at once, in one transaction as all acts here. A failed attempt stays spent. Errors: [ErrInvalid].
func RunNow(ctx context.Context, box *outbox.Box, ids ...int64) (Acted, error) {
	return act(ctx, box, "run now", ids, sqlRunNow)
}

// Reschedule makes tasks that wait due at a time, by the database's clock. Errors: [ErrInvalid].
func Reschedule(ctx context.Context, box *outbox.Box, due time.Time, ids ...int64) (Acted, error) {
	if due.IsZero() {
		return Acted{}, fmt.Errorf("strunk/ops: reschedule: the due time is zero: %w", ErrInvalid)
	}
	return act(ctx, box, "reschedule", ids, sqlReschedule, due)
}

// SetPriority gives tasks that wait another priority, 0 to 9: they go to the end of it. Errors: [ErrInvalid].
func SetPriority(ctx context.Context, box *outbox.Box, priority int, ids ...int64) (Acted, error) {
	if priority < 0 || priority > 9 {
		return Acted{}, fmt.Errorf("strunk/ops: set priority: %d is not from 0 to 9: %w", priority, ErrInvalid)
	}
	return act(ctx, box, "set priority", ids, sqlSetPriority, priority)
}

// Discard gives up tasks that wait: they end as discarded, and can be retried. Errors: [ErrInvalid].
func Discard(ctx context.Context, box *outbox.Box, reason string, ids ...int64) (Acted, error) {
	return act(ctx, box, "discard", ids, sqlDiscard, core.CleanText(reason, core.MaxErrorBytes))
}

// DeleteTasks deletes tasks for good that wait, are dead letters, or were cancelled or discarded. Errors: [ErrInvalid].
func DeleteTasks(ctx context.Context, box *outbox.Box, ids ...int64) (Acted, error) {
	return act(ctx, box, "delete tasks", ids, sqlDeleteTasks)
}

// act runs a statement that changes the tasks ($1) and returns their ids.
func act(ctx context.Context, box *outbox.Box, what string, ids []int64, sql string, args ...any) (a Acted, err error) {
	switch {
	case box == nil:
		err = fmt.Errorf("the box is nil: %w", ErrInvalid)
	case len(ids) == 0 || len(ids) > MaxChange:
		err = fmt.Errorf("give 1 to %d ids, not %d: %w", MaxChange, len(ids), ErrInvalid)
	default:
		host := core.BoxHost(box)
		err = core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sql), Args: append([]any{ids}, args...),
			Scan: func(rows pgx.Rows) (err error) {
				a.Changed, err = pgx.AppendRows([]int64{}, rows, pgx.RowTo[int64])
				return err
			}})
	}
	if err != nil {
		return Acted{}, wrap(what, err)
	}
	slices.Sort(a.Changed)
	a.Unchanged = []int64{}
	for _, id := range ids {
		if _, changed := slices.BinarySearch(a.Changed, id); !changed && !slices.Contains(a.Unchanged, id) {
			a.Unchanged = append(a.Unchanged, id)
		}
	}
	return a, nil
}
