package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// reapChunk bounds the rows that one transaction of the reaper deletes.
	reapChunk = 1000
	// reapHold is the part of the interval for which a run keeps others from beginning one.
	reapHold = 0.9
)

// reaper makes partitions ahead and applies the retention. Its connection is not the one of other maintenance: its
// statements may wait for locks, and nothing that has to be quick may wait for them.
type reaper struct {
	box    *Box
	conn   *control
	rows   *core.BatchLimit // of what one transaction deletes
	blocks *core.BatchLimit // of what one transaction goes through of a partition
}

// reapJob is one thing the reaper does. A job that fails keeps no other from being done, and is done
// again at the next run.
type reapJob struct {
	name  string
	owner bool // it changes tables: for the owner of the tables alone
	run   func(ctx context.Context) error
}

func newReaper(b *Box, conn *control) *reaper {
	return &reaper{box: b, conn: conn, rows: core.NewBatchLimit(reapChunk, 0),
		blocks: core.NewBatchLimit(reapBlocks, 0)}
}

// jobs lists what a run does, in order.
func (r *reaper) jobs() []reapJob {
	keep := r.box.cfg.Retention
	return []reapJob{
		{"partitions of tasks", false, r.ensureTaskPartitions},
		{"closed days of tasks", false, r.closeDays},
		{"delivered tasks", true, r.dropTaskPartitions},
		{"delivered tasks of queues", false, r.reapKept},
		{"dead letters", false, r.reapDead},
		{"cancelled and discarded tasks", false, r.reapCancelled},
		{"events", true, (&feedKeeper{box: r.box, maintenance: r.conn}).keep},
		{"inbox and results", false, r.reapMarks},
		{"batches", false, r.reapBatches},
		{"outcomes of tasks", false, func(ctx context.Context) error {
			longest := keep.maxTaskRetention()
			return r.reapRows(ctx, longest, sqlReapOutcomes, longest.Milliseconds())
		}},
		{"bulk jobs", false, func(ctx context.Context) error {
			return r.reapRows(ctx, keepJobs, sqlReapJobs, keepJobs.Milliseconds())
		}},
		{"runs of schedules", false, func(ctx context.Context) error {
			return r.reapRows(ctx, keep.ScheduleRuns, sqlReapRuns, keep.ScheduleRuns.Milliseconds())
		}},
	}
}

func (r *reaper) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.box.cfg.Logger.Warn("strunk: the reaper failed; trying again", "error", err)
		}
		every := r.box.cfg.Retention.Every
		core.Sleep(ctx, every+rand.N(every/50+1)) // apart from the other processes
	}
}

const (
	// sqlOwns tells whether this connection may change the tables.
	sqlOwns = `SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c
WHERE c.oid = '{schema}.strunk_outbox_delivered_tasks'::pg_catalog.regclass`
	// sqlBegin takes the run of loop $1, which comes round every $2 ms, for process $3.
	sqlBegin = `SELECT {schema}.strunk_loop_begin($1::text, $2::bigint, $3::text)`
)

// round runs the jobs, if no other process has within the interval. A process that does not own the tables has rounds
// of its own, so that it never takes the owner's, and leaves the partitions to the owner.
func (r *reaper) round(ctx context.Context) error {
	owner, err := queryControl[bool](ctx, r.conn, r.box.sql(sqlOwns))
	if err != nil {
		return err
	}
	loop := string(LoopReaper)
	if !owner {
		loop = "reaper of rows"
	}
	every := r.box.cfg.Retention.Every
	mine, err := queryControl[bool](ctx, r.conn, r.box.sql(sqlBegin), loop,
		int64(float64(every.Milliseconds())*reapHold), processName())
	if err != nil || !mine {
		return err
	}
	err = r.reap(ctx, owner)
	if ctx.Err() == nil {
		r.box.loopRan(ctx, r.conn, loop, every, err)
	}
	return err
}

func (r *reaper) reap(ctx context.Context, owner bool) error {
	var problems []error
	for _, job := range r.jobs() {
		if job.owner && !owner {
			continue
		}
		if err := job.run(ctx); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", job.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

const (
	// sqlEnsurePartitions makes the partitions of the days ahead.
	sqlEnsurePartitions = `SELECT {schema}.strunk_ensure_task_partitions()`
	// sqlCloseDay closes a day of the delivered tasks and returns its name; null where there is none to close.
	sqlCloseDay = `SELECT {schema}.strunk_close_day()`
	// sqlReapDead deletes up to $4 dead letters of queue $1 (null: all but $2) older than $3 ms.
	sqlReapDead = `SELECT {schema}.strunk_reap_dead($1::text, $2::text[], $3::bigint, $4::integer)`
	// sqlReapCancelled deletes cancelled and discarded tasks as sqlReapDead does dead letters.
	sqlReapCancelled = `SELECT {schema}.strunk_reap_cancelled($1::text, $2::text[], $3::bigint, $4::integer)`
	// sqlReapMarks deletes up to $3 rows of each of the queues' side tables: marks of the inbox older than $1 ms, and
	// what belongs to tasks and is older than $2 ms.
	sqlReapMarks = `SELECT {schema}.strunk_reap_marks($1::bigint * interval '1 millisecond',
		$2::bigint * interval '1 millisecond', $3::integer)`
	// sqlReapJobs deletes up to $2 bulk jobs that have not run for $1 ms.
	sqlReapJobs = `SELECT {schema}.strunk_reap_jobs($1::bigint, $2::integer)`
	// sqlReapRuns deletes up to $2 rows of schedules' runs older than $1 ms.
	sqlReapRuns = `SELECT {schema}.strunk_reap_schedule_runs($1::bigint, $2::integer)`
)

func (r *reaper) ensureTaskPartitions(ctx context.Context) error {
	_, err := queryControl[int](ctx, r.conn, r.box.sql(sqlEnsurePartitions))
	return err
}

// closeDays notes which ids the days hold that are over, each in a transaction of its own.
func (r *reaper) closeDays(ctx context.Context) error {
	for ctx.Err() == nil {
		name, err := queryControl[*string](ctx, r.conn, r.box.sql(sqlCloseDay))
		if err != nil || name == nil {
			return err
		}
	}
	return nil
}

func (r *reaper) reapDead(ctx context.Context) error {
	keep := r.box.cfg.Retention
	return r.reapEnded(ctx, sqlReapDead,
		keep.parts(keep.DeadLetters, func(q QueueRetention) time.Duration { return q.DeadLetters }))
}

// reapCancelled keeps cancelled and discarded tasks as long as delivered ones.
func (r *reaper) reapCancelled(ctx context.Context) error {
	keep := r.box.cfg.Retention
	return r.reapEnded(ctx, sqlReapCancelled,
		keep.parts(keep.Tasks, func(q QueueRetention) time.Duration { return q.Tasks }))
}

func (r *reaper) reapEnded(ctx context.Context, sql string, all []kept) error {
	for _, s := range all {
		if err := r.reapRows(ctx, s.keep, sql, s.arg(), s.except, s.keep.Milliseconds()); err != nil {
			return err
		}
	}
	return nil
}

// reapMarks cleans the queues' side tables.
func (r *reaper) reapMarks(ctx context.Context) error {
	keep := r.box.cfg.Retention
	return r.reapRows(ctx, 0, sqlReapMarks, keep.Inbox.Milliseconds(), keep.maxTaskRetention().Milliseconds())
}

const (
	// sqlRecountBatch counts the members of the first batch after $1 that is not finished, and returns it.
	sqlRecountBatch = `SELECT {schema}.strunk_recount_batch($1::bigint)`
	// sqlReapBatches deletes up to $2 rows of batches that finished more than $1 ms ago.
	sqlReapBatches = `SELECT {schema}.strunk_reap_batches($1::bigint, $2::integer)`
	// sqlReapOutcomes deletes up to $2 snapshots of outcomes older than $1 ms.
	sqlReapOutcomes = `SELECT {schema}.strunk_reap_outcomes($1::bigint, $2::integer)`
)

// reapBatches looks for members that somebody has deleted, and forgets batches as long after their end as tasks.
func (r *reaper) reapBatches(ctx context.Context) error {
	for last := int64(0); ctx.Err() == nil; {
		next, err := queryControl[*int64](ctx, r.conn, r.box.sql(sqlRecountBatch), last)
		if err != nil {
			return err
		}
		if next == nil {
			break
		}
		last = *next
	}
	keep := r.box.cfg.Retention.maxTaskRetention()
	return r.reapRows(ctx, keep, sqlReapBatches, keep.Milliseconds())
}

// reapRows repeats a statement that deletes at most as many rows as its last argument says, which
// reapRows adds, each time in a transaction of its own, until it finds fewer.
func (r *reaper) reapRows(ctx context.Context, keep time.Duration, sql string, args ...any) error {
	if keep == KeepForever {
		return nil
	}
	for ctx.Err() == nil {
		rows, _ := r.rows.Now()
		n, err := queryControl[int64](ctx, r.conn, r.box.sql(sql), append(slices.Clip(args), rows)...)
		if r.box.halved(ctx, "deleting what is past its retention", r.rows, err) {
			continue
		}
		if err != nil {
			return err
		}
		if r.rows.Succeeded(); n < int64(rows) {
			return nil
		}
	}
	return nil
}

// queryControl runs a statement that returns one value, in a transaction of its own.
func queryControl[T any](ctx context.Context, c *control, sql string, args ...any) (v T, err error) {
	err = c.autocommit(ctx, core.Statement{SQL: sql, Args: args, Scan: func(rows pgx.Rows) (err error) {
		v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}})
	return v, err
}
