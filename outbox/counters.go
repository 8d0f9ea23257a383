package outbox

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// countersEvery is how often a process writes what it has counted.
	countersEvery = maxHeartbeatInterval
	// countersTimeout bounds one such statement.
	countersTimeout = 5 * time.Second
)

// counters are what this process has counted and not written yet. They are written in one statement,
// as often as there are heartbeats: while the box runs by a loop of Run's and once more at its end,
// otherwise a while after they were asked for. Safe for concurrent use.
type counters struct {
	box   *Box
	clock dbClock
	all   sync.Map // core.CountersOf to *core.Counters
	runs  atomic.Int32
	armed atomic.Bool // a timer is about to write them
	write sync.Mutex  // one writes at a time
}

func newCounters(b *Box) *counters { return &counters{box: b} }

// enqueued is how many tasks of a queue were added.
type enqueued struct {
	queue string
	n     int
}

func (c *counters) enqueued(added []enqueued) {
	for _, a := range added {
		c.of(core.CountersOf{Kind: core.CountersOfQueue, Name: a.queue}).Enqueued.Add(int64(a.n))
	}
}

// of returns the counters of a queue or a subscriber, and sees to it that they are written.
func (c *counters) of(what core.CountersOf) *core.Counters {
	if c.runs.Load() == 0 && c.armed.CompareAndSwap(false, true) {
		time.AfterFunc(countersEvery, c.writeLater)
	}
	if found, ok := c.all.Load(what); ok {
		return found.(*core.Counters)
	}
	found, _ := c.all.LoadOrStore(what, &core.Counters{})
	return found.(*core.Counters)
}

// writeLater writes for a process that does not run the box.
func (c *counters) writeLater() {
	c.armed.Store(false)
	if c.runs.Load() > 0 {
		return
	}
	c.flush(context.Background(), func(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
		return c.box.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return fn(ctx, conn.Conn()) })
	})
}

// run writes until ctx ends.
func (c *counters) run(ctx context.Context, conn *control) {
	c.runs.Add(1)
	defer c.runs.Add(-1)
	for ctx.Err() == nil {
		core.Sleep(ctx, countersEvery)
		if ctx.Err() == nil {
			c.flush(ctx, conn.use)
		}
	}
}

// sqlAddCounters adds counters, a JSON document, and returns the database's time.
const sqlAddCounters = `SELECT {schema}.strunk_add_counters($1::json)`

// connected runs a function with a connection.
type connected func(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error

// flush writes what was counted. What the database has not taken is counted on; where its answer is
// lost, what was sent is lost too: it may have been taken, and nothing is to be counted twice.
func (c *counters) flush(ctx context.Context, use connected) {
	c.write.Lock()
	defer c.write.Unlock()
	taken := c.take()
	if len(taken) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, countersTimeout)
	defer cancel()
	c.store(ctx, use, taken)
}

// store writes rows. One that the database cannot store is dropped, and does not keep the others from being written.
func (c *counters) store(ctx context.Context, use connected, rows []countersRow) {
	sent, err := c.send(ctx, use, rows)
	switch {
	case err == nil:
	case core.IsUnstorable(err) && len(rows) > 1:
		for i := range rows {
			c.store(ctx, use, rows[i:i+1])
		}
	case core.IsUnstorable(err):
		c.box.cfg.Logger.Warn("strunk: counters cannot be stored, and are dropped", "kind", rows[0].Kind,
			"name", rows[0].Name, "error", err)
	default:
		lost := sent && core.AnswerLost(err) && !pgconn.SafeToRetry(err)
		if !lost {
			for _, row := range rows {
				row.giveBack(c)
			}
		}
		c.box.cfg.Logger.Debug("strunk: counters were not written", "lost", lost, "error", err)
	}
}

// send sends rows, and says whether it came to that. The answer sets the clock.
func (c *counters) send(ctx context.Context, use connected, rows []countersRow) (sent bool, err error) {
	doc, err := json.Marshal(rows)
	if err != nil {
		return false, err
	}
	err = use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var theirs time.Time
		began := time.Now()
		sent = true
		err := core.OneMessage(ctx, conn, core.Statement{SQL: c.box.sql(sqlAddCounters), Args: []any{string(doc)},
			Scan: func(rows pgx.Rows) (err error) {
				theirs, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[time.Time])
				return err
			}})
		if err == nil {
			c.clock.answered(theirs, began, time.Now())
		}
		return err
	})
	return sent, err
}

// take takes what was counted since the last time.
func (c *counters) take() (taken []countersRow) {
	c.all.Range(func(of, found any) bool {
		if row := rowOf(of.(core.CountersOf), found.(*core.Counters)); row.counted() {
			taken = append(taken, row)
		}
		return true
	})
	return taken
}

// countersRow is what was counted of a queue, or of a subscriber and entity type, with its exemplars.
type countersRow struct {
	countedColumns
	Exemplars []exemplarRow `json:"exemplars,omitempty"`
}

// countedColumns is a row of strunk_counters, with the names of its columns.
type countedColumns struct {
	Kind       string                       `json:"kind"`
	Name       string                       `json:"name"`
	EntityType string                       `json:"entity_type"`
	Enqueued   int64                        `json:"enqueued"`
	Done       int64                        `json:"done"`
	Failed     int64                        `json:"failed"`
	Retried    int64                        `json:"retried"`
	Waits      [core.HistogramBuckets]int64 `json:"waits"`
	WaitsUS    int64                        `json:"waits_us"`
	Runs       [core.HistogramBuckets]int64 `json:"runs"`
	RunsUS     int64                        `json:"runs_us"`
}

func rowOf(of core.CountersOf, c *core.Counters) countersRow {
	row := countersRow{countedColumns: countedColumns{Kind: of.Kind, Name: of.Name, EntityType: of.EntityType,
		Enqueued: c.Enqueued.Swap(0), Done: c.Done.Swap(0), Failed: c.Failed.Swap(0), Retried: c.Retried.Swap(0)}}
	row.Waits, row.WaitsUS = c.Waits.Take()
	row.Runs, row.RunsUS = c.Runs.Take()
	row.Exemplars = append(exemplarRows("wait", &c.Waits), exemplarRows("run", &c.Runs)...)
	return row
}

// exemplarRow is a row of strunk_exemplars, with the names of its columns.
type exemplarRow struct {
	Histogram string `json:"histogram"` // wait or run
	Bucket    int    `json:"bucket"`
	US        int64  `json:"us"`
	TraceID   string `json:"trace_id"`
}

func exemplarRows(histogram string, h *core.Histogram) (rows []exemplarRow) {
	for _, e := range h.TakeExemplars() {
		rows = append(rows, exemplarRow{histogram, e.Bucket, e.Duration.Microseconds(), e.TraceID})
	}
	return rows
}

func (r countedColumns) counted() bool {
	return r != countedColumns{Kind: r.Kind, Name: r.Name, EntityType: r.EntityType}
}

// giveBack counts a row once more. Its exemplars are lost: others follow.
func (r countedColumns) giveBack(to *counters) {
	c := to.of(core.CountersOf{Kind: r.Kind, Name: r.Name, EntityType: r.EntityType})
	c.Enqueued.Add(r.Enqueued)
	c.Done.Add(r.Done)
	c.Failed.Add(r.Failed)
	c.Retried.Add(r.Retried)
	c.Waits.Add(r.Waits, r.WaitsUS)
	c.Runs.Add(r.Runs, r.RunsUS)
}
