package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// patience is how long a change of the tables may wait for a lock before it is left for the next run.
	patience = 2 * time.Second
	// reapBlocks bounds the blocks of a partition that one transaction goes through.
	reapBlocks = 256
	oneDay     = 24 * time.Hour

	deliveredTasks = "strunk_outbox_delivered_tasks"
)

// Where a partition stands.
const (
	partitionAttached = "attached"
	partitionPending  = "pending" // its detaching was begun and not ended
	partitionDetached = "detached"
)

// partition is one day of the delivered tasks.
type partition struct {
	Name  string
	Past  time.Time // its rows are older than this
	State string
	Now   time.Time // the database's time
}

// sqlTaskPartitions lists the days of the delivered tasks, oldest first, with those that are
// detached and not yet dropped.
const sqlTaskPartitions = `SELECT c.relname::text,
	((pg_catalog.to_date(pg_catalog.right(c.relname::text, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC'),
	CASE WHEN i.inhrelid IS NULL THEN 'detached' WHEN i.inhdetachpending THEN 'pending' ELSE 'attached' END,
	pg_catalog.clock_timestamp()
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^strunk_outbox_delivered_tasks_[0-9]{8}$'
ORDER BY c.relname`

func (r *reaper) taskPartitions(ctx context.Context) (partitions []partition, err error) {
	err = r.conn.autocommit(ctx, core.Statement{SQL: r.box.sql(sqlTaskPartitions), Args: []any{r.box.names.schema},
		Scan: func(rows pgx.Rows) (err error) {
			partitions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
			return err
		}})
	return partitions, err
}

// day is the day that a partition holds, as SQL takes it.
func (p partition) day() string { return p.Past.AddDate(0, 0, -1).UTC().Format(time.DateOnly) }

// expired reports whether every row of a partition is older than keep.
func (p partition) expired(keep time.Duration) bool { return p.Now.Sub(p.Past) >= keep }

// errInTheWay says that a lock was not to be had in time.
var errInTheWay = errors.New("something reads it, so it is left for the next run")

// dropTaskPartitions drops the days that no queue keeps any more, in steps none of which blocks an
// insert: what an earlier run has begun to detach is finished first (a table can have only one of
// those), then days are detached concurrently, each in a statement of its own, then those that are
// detached are dropped. A day that somebody has detached before its time is attached again.
func (r *reaper) dropTaskPartitions(ctx context.Context) error {
	partitions, err := r.taskPartitions(ctx)
	if err != nil {
		return err
	}
	keep := r.box.cfg.Retention.maxTaskRetention()
	var problems []error
	for i, p := range partitions {
		if p.State == partitionPending || (p.State == partitionAttached && p.expired(keep)) {
			if err := r.detach(ctx, deliveredTasks, p); err != nil {
				problems = append(problems, fmt.Errorf("detaching %s: %w", p.Name, err))
				break
			}
			partitions[i].State = partitionDetached
		}
	}
	for _, p := range partitions {
		if p.State != partitionDetached {
			continue
		}
		doing := "dropping"
		if p.expired(keep) {
			err = r.drop(ctx, p)
		} else { // somebody else has detached it
			doing = "attaching"
			_, err = queryControl[bool](ctx, r.conn, r.box.sql(sqlEnsurePartition), p.day())
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s %s, which is detached: %w", doing, p.Name, err))
		}
	}
	_, err = queryControl[any](ctx, r.conn, r.box.sql(sqlReapNotes))
	return errors.Join(append(problems, err)...)
}

func (r *reaper) detach(ctx context.Context, parent string, p partition) error {
	how := "CONCURRENTLY"
	if p.State == partitionPending {
		how = "FINALIZE"
	}
	text := "ALTER TABLE {schema}." + parent + " DETACH PARTITION {schema}." + pgx.Identifier{p.Name}.Sanitize() +
		" " + how
	return r.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return patiently(ctx, conn,
			r.box.sql(text))
	})
}

// patiently runs a statement that cannot be part of a transaction, so that no setting can bound its
// waiting without being left behind on the connection: it is cancelled when its time is over.
// Without arguments it is sent alone, as it must be.
func patiently(ctx context.Context, conn *pgx.Conn, text string) error {
	timer := time.AfterFunc(patience, func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = conn.PgConn().CancelRequest(ctx) // if it does not arrive, the context ends the statement later
	})
	_, err := conn.Exec(ctx, "SET default_transaction_read_only = off") // the statement cannot say READ WRITE
	if err == nil {
		_, err = conn.Exec(ctx, text)
	}
	if !timer.Stop() && !conn.IsClosed() {
		_ = conn.Close(ctx) // a cancellation that is still on its way must not hit the next statement
	}
	return inTheWay(err)
}

// drop drops a detached partition, or leaves it alone if something reads it.
func (r *reaper) drop(ctx context.Context, p partition) error {
	return r.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, core.PlainTx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, patience.Milliseconds())); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, r.box.sql("DROP TABLE IF EXISTS {schema}."+pgx.Identifier{p.Name}.Sanitize()))
			return inTheWay(err)
		})
	})
}

// inTheWay marks the errors that say that a lock was not to be had, or that another process was quicker.
func inTheWay(err error) error {
	switch core.SQLState(err) {
	case pgerrcode.QueryCanceled, pgerrcode.LockNotAvailable, pgerrcode.DeadlockDetected,
		pgerrcode.ObjectNotInPrerequisiteState,
		pgerrcode.ObjectInUse, pgerrcode.UndefinedTable, pgerrcode.WrongObjectType:
		return fmt.Errorf("%w: %w", errInTheWay, err)
	}
	return err
}

const (
	// sqlEnsurePartition attaches the partition of day $1.
	sqlEnsurePartition = `SELECT {schema}.strunk_ensure_task_partition($1::text::date)`
	// sqlReaped lists what strunk_reap_partition has finished, as partition/queue.
	sqlReaped = `SELECT coalesce(pg_catalog.array_agg(partition_name || '/' || queue), '{}')
		FROM {schema}.strunk_reaped`
	// sqlReapPartition deletes queue $2's tasks (null: those of all but $3) from $5 blocks of
	// partition $1, from block $4 on; of those that ended less than $6 ms ago (null: also of these) none.
	sqlReapPartition = `SELECT {schema}.strunk_reap_partition($1::text, $2::text, $3::text[], $4::bigint, $5::integer,
		$6::bigint)`
	// sqlReapNotes forgets what is noted about partitions that are gone.
	sqlReapNotes = `SELECT {schema}.strunk_reap_notes()::text`
)

// reapKept deletes the tasks of queues that are kept for less time than their partition. It does
// so once for each queue and day, when the whole day is past. What is kept for less than a day it
// also looks for in the days that are not, at every run.
func (r *reaper) reapKept(ctx context.Context) error {
	keep := r.box.cfg.Retention
	longest := keep.maxTaskRetention()
	parts := slices.DeleteFunc(keep.parts(keep.Tasks, func(q QueueRetention) time.Duration { return q.Tasks }),
		func(s kept) bool { return s.keep == longest && s.keep >= oneDay })
	if len(parts) == 0 {
		return nil
	}
	partitions, err := r.taskPartitions(ctx)
	if err != nil {
		return err
	}
	noted, err := queryControl[[]string](ctx, r.conn, r.box.sql(sqlReaped))
	if err != nil {
		return err
	}
	for _, s := range parts {
		for _, p := range partitions {
			dropped := s.keep == longest && p.expired(longest) // with the whole partition
			if p.State != partitionAttached || dropped || slices.Contains(noted, p.Name+"/"+s.queue) {
				continue
			}
			if err := r.reapPart(ctx, p, s); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// reapPart deletes from one partition: all of these tasks where the whole day is past, and of what is kept for less
// than a day what is past its retention.
func (r *reaper) reapPart(ctx context.Context, p partition, s kept) error {
	var keep *int64
	if !p.expired(s.keep) {
		if began := p.Past.Add(-oneDay); s.keep >= oneDay || p.Now.Sub(began) < s.keep {
			return nil
		}
		ms := s.keep.Milliseconds()
		keep = &ms
	}
	for block := 0; ctx.Err() == nil; {
		blocks, _ := r.blocks.Now()
		n, err := queryControl[*int64](ctx, r.conn, r.box.sql(sqlReapPartition), p.Name, s.arg(), s.except, block,
			blocks, keep)
		if r.box.halved(ctx, "deleting the tasks of "+p.Name, r.blocks, err) {
			continue
		}
		if err != nil || n == nil {
			return err
		}
		r.blocks.Succeeded()
		block += blocks
	}
	return nil
}
