package schedule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// dueChunk bounds the schedules that are read at once.
	dueChunk = 100
	// maxSleep bounds the sleep where notifications arrive; where they do not, the box's poll interval does.
	maxSleep = 10 * time.Second
	// minSleep is the pause where something is due and could not be fired: another process is at it, or it failed.
	minSleep = 10 * time.Millisecond
	// setAside is how long a schedule that failed is left alone.
	setAside = 30 * time.Second
	// fireTimeout bounds one statement.
	fireTimeout = 10 * time.Second
	// reportEvery is how often the loop records that it runs.
	reportEvery = 10 * time.Second
	// maxErrorBytes bounds what is kept of an error's text.
	maxErrorBytes = 2000
)

const (
	// sqlDue reads what is due, at most $2, without the ids $1.
	sqlDue = `SELECT now_at, next_due, revision, misfire_cap, id, queue, spec, time_zone, misfire
FROM {schema}.strunk_schedules_due($1::text[], $2::integer)`
	// sqlWait reads how long there is nothing due, without the ids $1, and whether the clock was set back since this
	// loop's last record.
	sqlWait = `SELECT {schema}.strunk_schedules_wait_us($1::text[]), {schema}.strunk_clock_set_back('scheduler')`
	// sqlFire fires schedule $1, which stands at revision $2 and due time $3: tasks for $4, next due at $5. See
	// strunk_schedule_fire for what it locks.
	sqlFire = `SELECT {schema}.strunk_schedule_fire($1::text, $2::bigint, $3::timestamptz, $4::timestamptz[],
		$5::timestamptz)`
	// sqlFailed keeps error $3 of schedule $1 at revision $2.
	sqlFailed = `SELECT {schema}.strunk_schedule_failed($1::text, $2::bigint, $3::text)`
	// sqlRan records that the loop, which comes round every $1 ms, has succeeded, or failed with $3, in process $2.
	sqlRan = `SELECT {schema}.strunk_loop_ran('scheduler', $1::bigint, $2::text, $3::text)`
)

// runner is the loop of one Run.
type runner struct {
	rt       core.Runtime
	end      context.Context      // of all statements
	aside    map[string]time.Time // failed schedules, and until when they are left alone
	reported time.Time
}

// Describe implements core.Binding.
func (*runner) Describe() (kind, name string) { return "scheduler", "schedules" }

// Prepare implements core.Binding.
func (*runner) Prepare(core.Host) []error { return nil }

// Run implements core.Binding.
func (r *runner) Run(life core.Life, rt core.Runtime) error {
	r.rt, r.end, r.aside = rt, life.End, map[string]time.Time{}
	woken, stop := rt.Subscribe(core.TopicSchedule)
	defer stop()
	for life.Soft.Err() == nil {
		pause, err := r.tick(life.Soft)
		if life.Soft.Err() != nil {
			return nil
		}
		if err != nil {
			rt.Logger().Warn("strunk: the scheduler failed; trying again", "error", err)
			pause = rt.Settings().PollInterval
		}
		r.report(life.Soft, err)
		r.sleep(life.Soft, pause, woken)
	}
	return nil
}

func (r *runner) sleep(ctx context.Context, pause time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// dueRow is a schedule that is due.
type dueRow struct {
	Now      time.Time
	NextDue  time.Time
	Revision int64
	Cap      int
	ID       string
	Queue    string
	Spec     string
	TimeZone string
	Policy   string
}

// tick fires what is due and returns how long to sleep.
func (r *runner) tick(ctx context.Context) (time.Duration, error) {
	skip := r.skip()
	due, err := r.due(ctx, skip)
	if err != nil {
		return 0, err
	}
	missed := false
	for _, row := range due {
		done, err := r.fire(ctx, row)
		if err != nil && core.AnswerLost(err) && !errors.Is(err, ErrInvalid) {
			return 0, err
		}
		if err != nil {
			r.fail(ctx, row, err)
		}
		missed = missed || !done
	}
	pause, setBack, err := r.wait(ctx, r.skip())
	if err == nil && setBack {
		pause, err = minSleep, r.setBack(ctx)
	}
	if missed {
		pause = max(pause, minSleep)
	}
	return pause, err
}

// skip lists the schedules that are set aside.
func (r *runner) skip() []string {
	ids := []string{}
	for id, until := range r.aside {
		if time.Now().After(until) {
			delete(r.aside, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func (r *runner) due(ctx context.Context, skip []string) (due []dueRow, err error) {
	err = r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, r.rt.SQL(sqlDue), skip, dueChunk)
		if err != nil {
			return err
		}
		due, err = pgx.CollectRows(rows, pgx.RowToStructByPos[dueRow])
		return err
	})
	return due, err
}

// wait returns how long there is nothing to do, and whether the clock was set back.
func (r *runner) wait(ctx context.Context, skip []string) (pause time.Duration, setBack bool, err error) {
	most := maxSleep
	if r.rt.Settings().PollOnly {
		most = r.rt.Settings().PollInterval
	}
	var us *int64
	err = r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, r.rt.SQL(sqlWait), skip).Scan(&us, &setBack)
	})
	if err != nil || us == nil {
		return most, setBack, err
	}
	return min(time.Duration(*us)*time.Microsecond, most), setBack, nil
}

// fire enqueues a due schedule's tasks, and reports whether this process did.
func (r *runner) fire(ctx context.Context, row dueRow) (bool, error) {
	spec, err := Parse(row.Spec, row.TimeZone)
	if err != nil {
		return false, err
	}
	times := Misfire{policy: row.Policy, most: row.Cap}.due(spec.timer, row.NextDue, row.Now)
	var next *time.Time
	if at := spec.timer.after(row.NextDue, row.Now); !at.IsZero() {
		next = &at
	}
	var tasks []int64
	err = r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn, core.Statement{
				SQL: r.rt.SQL(sqlFire), Args: []any{row.ID, row.Revision, row.NextDue, times, next},
				Scan: func(rows pgx.Rows) (err error) {
					tasks, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]int64])
					return err
				}})
		})
	})
	if err != nil || tasks == nil {
		return false, err
	}
	r.rt.WakeLocal(core.TopicQueue(row.Queue))
	return true, nil
}

// fail sets a schedule aside, so that one that cannot be fired here keeps no other waiting, and keeps the reason.
func (r *runner) fail(ctx context.Context, row dueRow, why error) {
	if ctx.Err() != nil {
		return
	}
	r.aside[row.ID] = time.Now().Add(setAside)
	r.rt.Logger().Warn("strunk: a schedule could not be fired; trying again", "schedule", row.ID, "error", why,
		"retry_in", setAside)
	err := r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.OneMessage(ctx, conn, core.Statement{SQL: r.rt.SQL(sqlFailed),
			Args: []any{row.ID, row.Revision, core.CleanText(why.Error(), maxErrorBytes)}})
	})
	if err != nil {
		r.rt.Logger().Debug("strunk: a schedule's error was not kept", "schedule", row.ID, "error", err)
	}
}

// report records that the loop runs, now and then.
func (r *runner) report(ctx context.Context, failure error) {
	if failure == nil && time.Since(r.reported) < reportEvery {
		return
	}
	var text *string
	if failure != nil {
		s := core.CleanText(failure.Error(), maxErrorBytes)
		text = &s
	}
	err := r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.OneMessage(ctx, conn, core.Statement{SQL: r.rt.SQL(sqlRan),
			Args: []any{(maxSleep + reportEvery).Milliseconds(), process(), text}})
	})
	if err == nil {
		r.reported = time.Now()
	}
}

func (r *runner) control(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := core.Outlasting(ctx, r.end, fireTimeout) // a stop must not break the connection
	defer cancel()
	return r.rt.Control(ctx, func(conn *pgx.Conn) error { return fn(ctx, conn) })
}

// process names this process in the database.
func process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
