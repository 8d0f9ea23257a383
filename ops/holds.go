package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// MaxHold bounds how long a hold lasts.
const MaxHold = 365 * 24 * time.Hour

// Hold keeps a queue, or one customer key of it, from beginning tasks until a time. It was set by a handler
// (queue.Hold, queue.HoldKey) or by an operator (SetHold).
type Hold struct {
	Queue string `json:"queue"`
	// CustomerKey is empty where the whole queue is on hold.
	CustomerKey string    `json:"customer_key,omitempty"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	// HeldBy is the task and its process, or the role of an operator.
	HeldBy string `json:"held_by"`
	Reason string `json:"reason,omitempty"`
}

// HoldFilter chooses holds; the zero value chooses the first DefaultLimit of all.
type HoldFilter struct {
	// Queue is empty for all.
	Queue string
	// AfterQueue and AfterKey are those of the last hold of the page before.
	AfterQueue, AfterKey string
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

// sqlHolds reads at most $4 holds of queue $1 (empty: any) after key $3 of queue $2. It locks nothing.
const sqlHolds = `SELECT h.queue, h.customer_key, h.since, h.until, h.held_by, h.reason FROM {schema}.strunk_holds h
WHERE ($1::text = '' OR h.queue = $1) AND (h.queue, h.customer_key) > ($2::text COLLATE "C", $3::text COLLATE "C")
	AND h.until > {schema}.strunk_now()
ORDER BY h.queue, h.customer_key LIMIT $4::integer`

// Holds returns the holds that have not ended, by queue and customer key. Errors: [ErrInvalid].
func Holds(ctx context.Context, box *outbox.Box, f HoldFilter) (all []Hold, err error) {
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(f.Queue, f.AfterQueue, f.AfterKey)
	}
	if err == nil {
		err = ask(ctx, box, many(&all, sqlHolds, []any{f.Queue, f.AfterQueue, f.AfterKey, n}, scanHold))
	}
	return all, wrap("holds", err)
}

func scanHold(rows pgx.Rows) (h Hold, err error) {
	return h, rows.Scan(&h.Queue, &h.CustomerKey, &h.Since, &h.Until, &h.HeldBy, &h.Reason)
}

// NewHold is a hold to be set.
type NewHold struct {
	Queue string
	// CustomerKey is empty for the whole queue.
	CustomerKey string
	// For is how long it lasts, by the database's clock: a second at least, at most MaxHold.
	For time.Duration
	// Reason is for those who find the queue on hold.
	Reason string
}

// sqlSetHold puts queue $1, or key $3 of it, on hold for $2 microseconds, for the reason $4.
const sqlSetHold = `SELECT {schema}.strunk_hold($1::text,
	{schema}.strunk_now() + $2::bigint * interval '1 microsecond', $3::text, $4::text)`

// SetHold puts a queue, or one customer key of it, on hold in all processes: no task of it is begun until the hold
// ends, and running handlers go on. It returns when that is: a hold that is there already ends at the later time.
// Errors: [ErrInvalid].
func SetHold(ctx context.Context, box *outbox.Box, h NewHold) (until time.Time, err error) {
	if err = h.check(); err == nil {
		until, err = changeHold[time.Time](ctx, box, h.Queue, sqlSetHold, h.Queue, h.For.Microseconds(),
			h.CustomerKey, core.CleanText(h.Reason, core.MaxErrorBytes))
	}
	return until, wrap("set hold", err)
}

func (h NewHold) check() error {
	if h.For <= 0 || h.For > MaxHold {
		return fmt.Errorf("NewHold.For: %v is not between 0 and %v: %w", h.For, MaxHold, ErrInvalid)
	}
	return checkHeld(h.Queue, h.CustomerKey)
}

// checkHeld checks what a hold is of.
func checkHeld(queue, customerKey string) error {
	if err := core.CheckName(queue); err != nil {
		return fmt.Errorf("the queue's name %w: %w", err, ErrInvalid)
	}
	if customerKey == "" {
		return nil
	}
	if err := core.CheckKey(customerKey); err != nil {
		return fmt.Errorf("the customer key %w: %w", err, ErrInvalid)
	}
	return nil
}

// sqlLiftHold ends the hold of queue $1, or of key $2 of it.
const sqlLiftHold = `SELECT {schema}.strunk_lift_hold($1::text, $2::text)`

// LiftHold ends the hold of a queue, or (customerKey is not empty) of one key of it, before its time. It reports
// whether there was one. Errors: [ErrInvalid].
func LiftHold(ctx context.Context, box *outbox.Box, queue, customerKey string) (lifted bool, err error) {
	if err = checkHeld(queue, customerKey); err == nil {
		lifted, err = changeHold[bool](ctx, box, queue, sqlLiftHold, queue, customerKey)
	}
	return lifted, wrap("lift hold", err)
}

// changeHold runs a statement that changes a hold, and has the workers of this process look.
func changeHold[V any](ctx context.Context, box *outbox.Box, queue, sql string, args ...any) (v V, err error) {
	if box == nil {
		return v, fmt.Errorf("the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	v, err = core.WriteValue[V](ctx, host.Pool(), host.SQL(sql), args...)
	if err == nil {
		host.WakeLocal(core.TopicControl(queue), core.TopicQueue(queue))
	}
	return v, err
}
