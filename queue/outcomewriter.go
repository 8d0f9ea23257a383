package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/strunk-go/strunk/internal/core"
)

// outcomeTimeout bounds one statement that writes outcomes.
const outcomeTimeout = 15 * time.Second

const (
	// sqlCompleteAt and sqlComplete complete worker $1's tasks $2 under claim numbers $3. The first
	// looks at the places $4 where the claim had left them. The last parameter says whether they
	// are kept as delivered.
	sqlCompleteAt = `SELECT * FROM {schema}.strunk_complete_at($1::bigint, $2::bigint[], $3::bigint[],
		$4::tid[], $5::boolean)`
	sqlComplete = `SELECT * FROM {schema}.strunk_complete($1::bigint, $2::bigint[], $3::bigint[], $4::boolean)`
	// sqlCompleteResults completes tasks of queue $1 with their results ($5).
	sqlCompleteResults = `SELECT * FROM {schema}.strunk_complete_results($1::text, $2::bigint, $3::bigint[],
		$4::bigint[],
	$5::text[], $6::boolean)`
	// sqlCompletePublishing is sqlCompleteResults, with or (null) without results, and publishes which tasks are done.
	sqlCompletePublishing = `SELECT * FROM {schema}.strunk_complete_publishing($1::text, $2::bigint, $3::bigint[],
		$4::bigint[], $5::text[], $6::boolean)`
	// sqlRetry gives tasks back: due after delays $4 in ms, $5 says that the attempt is not spent, $9 that it
	// has begun.
	sqlRetry = `SELECT * FROM {schema}.strunk_retry($1::bigint, $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[],
	$6::text[], $7::text[], $8::text, $9::boolean[])`
	// sqlEndLate ends tasks that must not begin any more.
	sqlEndLate = `SELECT * FROM {schema}.strunk_end_claimed_late($1::bigint, $2::bigint[], $3::bigint[], $4::text)`
	// sqlEnd ends tasks with status $4: dead, cancelled or discarded.
	sqlEnd = `SELECT * FROM {schema}.strunk_end_claimed($1::bigint, $2::bigint[], $3::bigint[], $4::text,
		$5::text[], $6::text[], $7::text)`
	// sqlIsolate makes a dead letter of task $2 of worker $1, claimed under $3, whose outcome cannot be stored.
	sqlIsolate = `SELECT $2::bigint WHERE {schema}.strunk_isolate($1::bigint, $2::bigint, $3::bigint, $4::text,
		$5::text)`
	// sqlEnded returns which of these tokens have ended.
	sqlEnded = `SELECT * FROM {schema}.strunk_ended($1::bigint, $2::bigint[], $3::bigint[])`
	// sqlPartitions makes the partition that a move has missed.
	sqlPartitions = `SELECT {schema}.strunk_ensure_task_partitions()`
)

// outcomeWriter writes outcomes under one lease. Workers and manual claims share it.
type outcomeWriter struct {
	end     context.Context // of all statements
	host    core.Host
	queue   string
	worker  int64  // the lease's id
	process string // host and process id, for the history of attempts
	keep    bool   // delivered tasks are kept
	results bool
	// publishes says that what is done is published.
	publishes bool
}

func newOutcomeWriter(end context.Context, host core.Host, def *definition, worker int64) *outcomeWriter {
	return &outcomeWriter{end: end, host: host, queue: def.name, worker: worker, process: processName(),
		keep: !def.cfg.DiscardDelivered, results: def.results, publishes: def.cfg.Outcomes != ""}
}

// processName is the name of this process in the history of attempts.
func processName() string { return fmt.Sprintf("%s/%d", hostName(), os.Getpid()) }

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// write writes outcomes of one kind, in the order of their ids, and returns the ids of the tasks
// that it changed. It asks a second time for those that it missed: a row that something else has
// moved within the table is found by its id then.
func (w *outcomeWriter) write(kind outcomeKind, part []outcome) ([]int64, error) {
	done, err := w.send(kind, part, true)
	if err != nil || len(done) == len(part) {
		return done, err
	}
	more, err := w.send(kind, missing(part, done), false)
	return append(done, more...), err
}

// missing returns the outcomes whose ids are not in done.
func missing(part []outcome, done []int64) (rest []outcome) {
	found := make(map[int64]bool, len(done))
	for _, id := range done {
		found[id] = true
	}
	for _, o := range part {
		if !found[o.job.id] {
			rest = append(rest, o)
		}
	}
	return rest
}

func (w *outcomeWriter) send(kind outcomeKind, part []outcome, byPlace bool) ([]int64, error) {
	ctx, cancel := context.WithTimeout(w.end, outcomeTimeout)
	defer cancel()
	sql, args := w.statement(kind, part, byPlace)
	return w.change(ctx, sql, args)
}

// change runs a statement that moves tasks, and makes the partition that it misses.
func (w *outcomeWriter) change(ctx context.Context, sql string, args []any) (done []int64, err error) {
	err = core.RetryConflicts(ctx, func() (err error) {
		done, err = w.query(ctx, sql, args)
		return err
	})
	if core.IsMissingPartition(err) {
		if err := core.Write(ctx, w.host.Pool(), core.Statement{SQL: w.host.SQL(sqlPartitions)}); err != nil {
			return nil, err
		}
		return w.query(ctx, sql, args)
	}
	return done, err
}

func (w *outcomeWriter) query(ctx context.Context, sql string, args []any) (done []int64, err error) {
	conn, err := w.host.Pool().Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	err = core.OneMessage(ctx, conn.Conn(), core.Statement{SQL: w.host.SQL(sql), Args: args,
		Scan: func(rows pgx.Rows) (err error) {
			done, err = pgx.AppendRows(make([]int64, 0, maxOutcomes), rows, pgx.RowTo[int64])
			return err
		}})
	return done, err
}

// ended returns which of these outcomes' tasks have ended under their tokens.
func (w *outcomeWriter) ended(part []outcome) ([]int64, error) {
	ctx, cancel := context.WithTimeout(w.end, outcomeTimeout)
	defer cancel()
	var ids, claims []int64
	for _, o := range part {
		ids, claims = append(ids, o.job.id), append(claims, o.job.claim)
	}
	return w.query(ctx, sqlEnded, []any{w.worker, ids, claims})
}

func (w *outcomeWriter) statement(kind outcomeKind, part []outcome, byPlace bool) (string, []any) {
	n := len(part)
	ids, claims := make([]int64, n), make([]int64, n)
	for i, o := range part {
		ids[i], claims[i] = o.job.id, o.job.claim
	}
	switch kind {
	case outcomeComplete:
		return w.completion(part, ids, claims, byPlace)
	case outcomeRetry:
		delays, refunds := make([]int64, n), make([]bool, n)
		for i, o := range part {
			delays[i], refunds[i] = *millis[int64](&o.delay), o.refund
		}
		errs, stacks := errorsOf(part)
		return sqlRetry, []any{w.worker, ids, claims, delays, refunds, errs, stacks, w.process, begunOf(part)}
	case outcomeLate:
		return sqlEndLate, []any{w.worker, ids, claims, w.process}
	default:
		errs, stacks := errorsOf(part)
		if part[0].isolated {
			return sqlIsolate, []any{w.worker, ids[0], claims[0], errs[0], core.PlainText(w.process)}
		}
		return sqlEnd, []any{w.worker, ids, claims, string(statusAfter(part[0])), errs, stacks, w.process}
	}
}

func (w *outcomeWriter) completion(part []outcome, ids, claims []int64, byPlace bool) (string, []any) {
	switch {
	case w.results, w.publishes:
		return w.completionWithMore(part, ids, claims)
	case byPlace:
		places := make([]pgtype.TID, len(part))
		for i, o := range part {
			places[i] = o.job.at
		}
		return sqlCompleteAt, []any{w.worker, ids, claims, places, w.keep}
	}
	return sqlComplete, []any{w.worker, ids, claims, w.keep}
}

// completionWithMore completes with results, with outcomes that are published, or with both.
func (w *outcomeWriter) completionWithMore(part []outcome, ids, claims []int64) (string, []any) {
	sql := sqlCompleteResults
	if w.publishes {
		sql = sqlCompletePublishing
	}
	var results []*string
	for _, o := range part {
		if w.results {
			results = append(results, o.job.result)
		}
	}
	return sql, []any{w.queue, w.worker, ids, claims, results, w.keep}
}

func errorsOf(part []outcome) (errs, stacks []*string) {
	errs, stacks = make([]*string, len(part)), make([]*string, len(part))
	for i, o := range part {
		errs[i], stacks[i] = errorTexts(o.err)
	}
	return errs, stacks
}

func errorTexts(err error) (text, stack *string) { return core.ErrorTexts(err, stackOf) }

func stackOf(err error) (string, bool) {
	var p *PanicError
	if !errors.As(err, &p) {
		return "", false
	}
	return p.Stack, true
}

// why is an error in a log, with the stack of a panic.
func why(err error) slog.Attr { return core.Why(errorTexts(err)) }
