package outbox

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// sqlVoid keeps claims of worker $1 up to number $2 from doing anything any more; it waits for one being committed.
	sqlVoid = `SELECT {schema}.strunk_void_claims($1::bigint, $2::bigint)`
	// sqlOpenClaims lists the claims that the table holds of workers $1, of each those above its number in $2.
	sqlOpenClaims = `SELECT worker_id, claim_no FROM {schema}.strunk_open_claims($1::bigint[], $2::bigint[])`
	// sqlReturn gives back the tasks of worker $1's claims $2.
	sqlReturn = `SELECT * FROM {schema}.strunk_return_claims($1::bigint, $2::bigint[])`
)

// openClaims reads which claims the table holds of workers, of each those above its low number.
func openClaims(ctx context.Context, b *Box, c *control, workers, low []int64) (open map[int64][]int64, err error) {
	err = c.autocommit(ctx, core.Statement{SQL: b.sql(sqlOpenClaims), Args: []any{workers, low},
		Scan: func(rows pgx.Rows) error {
			open = map[int64][]int64{}
			var worker, number int64
			_, err := pgx.ForEachRow(rows, []any{&worker, &number}, func() error {
				open[worker] = append(open[worker], number)
				return nil
			})
			return err
		}})
	return open, err
}

// compareLoop compares claims as often as there are heartbeats, apart from them: it may wait for locks.
func (ls *leases) compareLoop(ctx context.Context) {
	for ctx.Err() == nil {
		ls.compare(ctx)
		core.SleepOrWake(ctx, ls.interval(), ls.compareNow)
	}
}

// comparison is of the claims of one lease that the process knows and those that the table holds. It is left out where
// nothing is claimed, and nothing was claimed since the last one.
type comparison struct {
	lease  *lease
	number int64   // claims up to here were voided; 0 for none
	low    int64   // claims above it are compared
	known  []int64 // by the process, before the table was read
}

// compare gives back the tasks of claims whose answer never arrived. One statement reads the claims of all leases.
func (ls *leases) compare(ctx context.Context) {
	var due []comparison
	for _, l := range ls.all() {
		c, needed, err := ls.begin(ctx, l)
		if err != nil {
			ls.compareFailed(ctx, l, err)
		} else if needed {
			due = append(due, c)
		}
	}
	if len(due) == 0 {
		return
	}
	workers, low := make([]int64, len(due)), make([]int64, len(due))
	for i, c := range due {
		workers[i], low[i] = c.lease.id, c.low
	}
	open, readErr := openClaims(ctx, ls.box, ls.maintenance, workers, low)
	for _, c := range due {
		err := readErr
		if err == nil {
			err = ls.end(ctx, c, open[c.lease.id])
		}
		if err != nil {
			ls.compareFailed(ctx, c.lease, err)
		}
	}
}

func (ls *leases) compareFailed(ctx context.Context, l *lease, err error) {
	if ctx.Err() == nil {
		ls.box.cfg.Logger.Warn("strunk: looking for lost claims failed; trying again", "queue", l.spec.Queue,
			"error", err)
	}
}

// begin voids the claims of a lease that are to be voided, and says whether there is something to compare.
func (ls *leases) begin(ctx context.Context, l *lease) (c comparison, needed bool, err error) {
	c = comparison{lease: l, number: l.voiding()}
	if c.number > 0 {
		err := ls.maintenance.autocommit(ctx, core.Statement{SQL: ls.box.sql(sqlVoid), Args: []any{l.id, c.number}})
		if err != nil {
			return c, false, err
		}
	}
	if l.spec.Claims == nil {
		return c, false, nil
	}
	c.low, c.known = l.spec.Claims()
	return c, c.number > 0 || len(c.known) > 0 || c.low != l.clean || c.low < 0, nil
}

// end gives back the open claims that the process does not know of.
func (ls *leases) end(ctx context.Context, c comparison, open []int64) error {
	if err := ls.returnUnknown(ctx, c, open); err != nil {
		return err
	}
	c.lease.voided(c.number)
	c.lease.spec.Resolved(c.number)
	c.lease.clean = c.low
	return nil
}

func (ls *leases) returnUnknown(ctx context.Context, c comparison, open []int64) error {
	known := slices.Clone(c.known)
	_, later := c.lease.spec.Claims() // after the table was read: a claim that was sent in between is known now
	known = append(known, later...)
	unknown := slices.DeleteFunc(open, func(n int64) bool { return slices.Contains(known, n) })
	if len(unknown) == 0 {
		return nil
	}
	ids, err := ls.maintenance.queryInt64s(ctx, ls.box.sql(sqlReturn), c.lease.id, unknown)
	if err != nil {
		return err
	}
	ls.box.cfg.Logger.Warn("strunk: gave back the tasks of claims whose answer was lost", "queue",
		c.lease.spec.Queue, "tasks", len(ids))
	ls.box.wake([]string{core.TopicQueue(c.lease.spec.Queue)})
	return nil
}
