package outbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// loopReportEvery is how often a process records that its hot loops run.
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
	// LastOK is when it last succeeded, as recorded every ten seconds, and LastError when and why it last failed; zero
	// where it never did.
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

// sqlLoopsRan records that loops $1, which come round every $2 ms, have succeeded in process $3, or failed with $4
// (null for a success).
const sqlLoopsRan = `SELECT {schema}.strunk_loop_ran(r.loop, r.interval_ms, $3::text, r.error)
FROM unnest($1::text[], $2::bigint[], $4::text[]) r (loop, interval_ms, error)`

// loopRound is how the latest rounds of a loop ended.
type loopRound struct {
	loop     string
	interval time.Duration
	ok       bool  // one succeeded
	failure  error // the last one that failed, nil for none
}

// loopRan records a round of a loop. Failing to is no failure of the loop.
func (b *Box) loopRan(ctx context.Context, c *control, loop string, interval time.Duration, failure error) {
	b.loopsRan(ctx, c, []loopRound{{loop, interval, failure == nil, failure}})
}

func (b *Box) loopsRan(ctx context.Context, c *control, rounds []loopRound) {
	var loops []string
	var intervals []int64
	var failures []*string
	add := func(r loopRound, failure *string) {
		loops, intervals = append(loops, r.loop), append(intervals, r.interval.Milliseconds())
		failures = append(failures, failure)
	}
	for _, r := range rounds {
		if r.ok {
			add(r, nil)
		}
		if r.failure != nil {
			text := core.CleanText(r.failure.Error(), maxLoopErrorBytes)
			add(r, &text)
		}
	}
	err := c.autocommit(ctx, core.Statement{SQL: b.sql(sqlLoopsRan),
		Args: []any{loops, intervals, processName(), failures}})
	if err != nil && ctx.Err() == nil {
		b.cfg.Logger.Debug("strunk: rounds of loops were not recorded", "loops", loops, "error", err)
	}
}

// loopRounds are the rounds of the hot loops of one Run that are not recorded yet. All are recorded by one statement,
// once in loopReportEvery, and at once where a loop has come round for the first time, or fails or succeeds anew.
type loopRounds struct {
	mu       sync.Mutex
	waiting  map[Loop]loopRound
	failed   map[Loop]bool // how the last round of each loop ended
	recorded time.Time
}

func newLoopRounds() *loopRounds {
	return &loopRounds{waiting: map[Loop]loopRound{}, failed: map[Loop]bool{}}
}

// add takes a round, and returns those that are to be recorded now, in the order in which all processes lock their
// rows.
func (l *loopRounds) add(loop Loop, interval time.Duration, failure error, now time.Time) (record []loopRound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := failure != nil
	before := l.waiting[loop]
	l.waiting[loop] = loopRound{string(loop), interval, before.ok || !failed, cmp.Or(failure, before.failure)}
	last, known := l.failed[loop]
	l.failed[loop] = failed
	if known && last == failed && now.Sub(l.recorded) < loopReportEvery {
		return nil
	}
	record = slices.SortedFunc(maps.Values(l.waiting), func(a, b loopRound) int {
		return cmp.Compare(a.loop, b.loop)
	})
	clear(l.waiting)
	l.recorded = now
	return record
}

// anew has the next round of a loop recorded at once.
func (l *loopRounds) anew(loop Loop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failed, loop)
}

// loopReport records the rounds of a hot loop together with those of others.
type loopReport struct {
	loop   Loop
	rounds *loopRounds
}

// ran takes a round, and records what is to be recorded by now.
func (r loopReport) ran(ctx context.Context, b *Box, c *control, interval time.Duration, failure error) {
	if ctx.Err() != nil {
		return
	}
	if record := r.rounds.add(r.loop, interval, failure, time.Now()); len(record) > 0 {
		b.loopsRan(ctx, c, record)
	}
}

// processName names this process in the database.
var processName = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
})
