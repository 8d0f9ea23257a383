package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// jobRows bounds the tasks that one slice of a bulk job acts on.
	jobRows = 500
	// jobTimeout bounds a slice: PostgreSQL cancels it, and the next one is smaller.
	jobTimeout = 5 * time.Second
	// jobPoll is how often a process looks for bulk jobs that it was not told of.
	jobPoll = 5 * time.Second
	// maxJobFailures is how often in a row a slice may fail before its job does.
	maxJobFailures = 10
	// keepJobs is how long a bulk job that does not run is kept.
	keepJobs = 7 * 24 * time.Hour
)

const (
	// sqlNextJob finds the job whose slice is due next, and in how many milliseconds.
	sqlNextJob = `SELECT j.id, j.wait_ms FROM {schema}.strunk_next_job() j`
	// sqlWorkJob does a slice of job $1, of $2 tasks at most, in process $3.
	sqlWorkJob = `SELECT w.state, w.act, w.started_by, w.done, w.failed, w.skipped
FROM {schema}.strunk_work_job($1::bigint, $2::integer, $3::text) w`
	// sqlJobFailed notes that a slice of job $1 has failed with $2: it is tried again after $3 ms, $4 times in a row.
	sqlJobFailed = `SELECT {schema}.strunk_job_failed($1::bigint, $2::text, $3::bigint, $4::integer)`
)

// jobWorker does the slices of bulk jobs that are due. Several processes may: the row of a job lets one at a time.
type jobWorker struct {
	box    *Box
	conn   *control
	limit  *core.BatchLimit
	report loopReport
}

func (w *jobWorker) run(ctx context.Context) {
	w.limit = core.NewBatchLimit(jobRows, 0)
	woken, stop := w.box.wakeUps.subscribe([]string{core.TopicJobs})
	defer stop()
	for ctx.Err() == nil {
		pause, err := w.round(ctx)
		if err != nil && ctx.Err() == nil {
			w.box.cfg.Logger.Warn("strunk: a slice of a bulk job failed; trying again", "error", err)
			pause = jobPoll
		}
		w.report.ran(ctx, w.box, w.conn, jobPoll, err)
		core.SleepOrWake(ctx, w.box.rhythm.Pause(pause, jobPoll), woken)
	}
}

// round does what is due, and returns how long to sleep: until the next slice is due, at most jobPoll.
func (w *jobWorker) round(ctx context.Context) (time.Duration, error) {
	for ctx.Err() == nil {
		id, wait, err := w.next(ctx)
		if err != nil || wait > 0 {
			return min(wait, jobPoll), err
		}
		rows, _ := w.limit.Now()
		slice, err := w.slice(ctx, id, rows)
		if w.box.halved(ctx, "a slice of a bulk job", w.limit, err) {
			continue
		}
		if err != nil {
			return 0, w.failed(ctx, id, err)
		}
		w.limit.Succeeded()
		if slice == nil { // another process does it
			return jobPoll, nil
		}
		w.log(id, *slice)
	}
	return jobPoll, nil
}

// next returns the job that is due next, and in how long.
func (w *jobWorker) next(ctx context.Context) (id int64, wait time.Duration, err error) {
	wait = jobPoll
	err = w.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var ms int64
		err := conn.QueryRow(ctx, w.box.sql(sqlNextJob)).Scan(&id, &ms)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err == nil:
			wait = time.Duration(ms) * time.Millisecond
		}
		return err
	})
	return id, wait, err
}

// jobSlice is what became of a job with one of its slices.
type jobSlice struct {
	State, Act, StartedBy string
	Done, Failed, Skipped int64
}

// slice does the next slice of a job; nil where another process does.
func (w *jobWorker) slice(ctx context.Context, id int64, rows int) (done *jobSlice, err error) {
	err = w.conn.autocommit(ctx,
		core.Statement{SQL: w.box.sql(sqlLimitCount), Args: []any{fmt.Sprint(jobTimeout.Milliseconds())}},
		core.Statement{SQL: w.box.sql(sqlWorkJob), Args: []any{id, rows, processName()},
			Scan: func(rows pgx.Rows) error {
				all, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[jobSlice])
				if len(all) > 0 {
					done = all[0]
				}
				return err
			}})
	return done, err
}

// failed notes the failure, unless the process ends or the database is away, and returns it.
func (w *jobWorker) failed(ctx context.Context, id int64, failure error) error {
	if ctx.Err() != nil {
		return nil
	}
	state, err := queryControl[*string](ctx, w.conn, w.box.sql(sqlJobFailed), id,
		core.CleanText(failure.Error(), maxLoopErrorBytes), jobPoll.Milliseconds(), maxJobFailures)
	if err == nil && state != nil && *state == "failed" {
		w.box.cfg.Logger.Error("strunk: a bulk job has failed; it can be resumed", "job", id, "error", failure)
	}
	return failure
}

// log says what a job has done when it ends: the audit of what it has changed.
func (w *jobWorker) log(id int64, s jobSlice) {
	if s.State != "running" {
		w.box.cfg.Logger.Info("strunk: a bulk job has ended or stopped", "job", id, "state", s.State, "act", s.Act,
			"started_by", s.StartedBy, "done", s.Done, "failed", s.Failed, "skipped", s.Skipped)
	}
}
