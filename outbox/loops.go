package outbox

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// loopReportEvery is how often a process records that one of its loops runs.
	loopReportEvery = 10 * time.Second
	// maxLoopErrorBytes bounds what is kept of a loop's error, in bytes.
	maxLoopErrorBytes = 2000
)

// LoopStatus is the record of one loop over all processes.
type LoopStatus struct {
	// Loop is a Loop constant, "scheduler", or "reaper of rows": the reaper of processes that do not own the tables.
	Loop string
	// Interval is how often the loop comes round at least.
	Interval time.Duration
	// LastOK is when it last succeeded, and LastError when and why it last failed; zero where it never did.
	LastOK      time.Time
	LastErrorAt time.Time
	LastError   string
	// By names the process (host and process id) that came round last.
	By string
	// Age is how long ago LastOK was, by the database's clock; negative where it never succeeded.
	Age time.Duration
}

// lateIntervals is how many intervals a loop may miss before it counts as behind, and lateExtra is
// added for what a report is late by.
const (
	lateIntervals = 3
	lateExtra     = 2 * loopReportEvery
)

// Behind reports whether the loop has not succeeded for some intervals: nobody runs it, or it fails.
func (s LoopStatus) Behind() bool {
	return s.Age < 0 || s.Age > lateIntervals*s.Interval+lateExtra
}

// sqlLoops reads the record of the loops. It locks nothing.
const sqlLoops = `SELECT loop, interval_ms, coalesce(last_ok_at, '0001-01-01Z'), coalesce(last_error_at,
	'0001-01-01Z'), coalesce(last_error, ''),
	coalesce(last_process, ''), coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - last_ok_at) * 1000,
	-1)::bigint
FROM {schema}.strunk_loops ORDER BY loop`

// Loops returns the record of the maintenance loops and the scheduler, of all processes, in the
// order of their names. A loop that never ran has none.
func (b *Box) Loops(ctx context.Context) ([]LoopStatus, error) {
	rows, err := b.pool.Query(ctx, b.sql(sqlLoops))
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: loops: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanLoop)
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: loops: %w", err)
	}
	return all, nil
}

func scanLoop(row pgx.CollectableRow) (s LoopStatus, err error) {
	var interval, age int64
	err = row.Scan(&s.Loop, &interval, &s.LastOK, &s.LastErrorAt, &s.LastError, &s.By, &age)
	s.Interval, s.Age = time.Duration(interval)*time.Millisecond, time.Duration(age)*time.Millisecond
	return s, err
}

// sqlLoopRan records that loop $1, which comes round every $2 ms, has succeeded in process $3, or failed with $4.
const sqlLoopRan = `SELECT {schema}.strunk_loop_ran($1::text, $2::bigint, $3::text, $4::text)`

// loopRan records a round of a loop. Failing to is no failure of the loop.
func (b *Box) loopRan(ctx context.Context, c *control, loop string, interval time.Duration, failure error) {
	var text *string
	if failure != nil {
		s := core.CleanText(failure.Error(), maxLoopErrorBytes)
		text = &s
	}
	err := c.autocommit(ctx, core.Statement{SQL: b.sql(sqlLoopRan),
		Args: []any{loop, interval.Milliseconds(), processName(), text}})
	if err != nil && ctx.Err() == nil {
		b.cfg.Logger.Debug("strunk: a loop's round was not recorded", "loop", loop, "error", err)
	}
}

// loopReport keeps a hot loop's record cheap: its rounds are recorded once in loopReportEvery.
type loopReport struct {
	loop Loop
	last time.Time
}

// ran records a round, if it is time to.
func (r *loopReport) ran(ctx context.Context, b *Box, c *control, interval time.Duration, failure error) {
	if ctx.Err() != nil || time.Since(r.last) < loopReportEvery {
		return
	}
	r.last = time.Now()
	b.loopRan(ctx, c, string(r.loop), interval, failure)
}

// processName names this process in the database.
var processName = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
})
