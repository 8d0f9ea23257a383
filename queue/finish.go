package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/strunk-go/strunk/internal/core"
)

type outcomeKind int

const (
	outcomeComplete outcomeKind = iota
	outcomeRetry
	outcomeBury
	// outcomeSettled has been written by the handler's own transaction.
	outcomeSettled
)

// outcome is what became of a task's attempt.
type outcome struct {
	job    *job
	kind   outcomeKind
	delay  time.Duration
	refund bool // the attempt is not spent
	err    error
}

const (
	// mostFinished bounds the outcomes of one statement.
	mostFinished = 1000
	// lingerAbove and lingerTime let batches fill when outcomes come fast: after a batch of more than lingerAbove the next
	// one is held back for lingerTime, or until half of mostFinished have come.
	lingerAbove = 50
	lingerTime  = 3 * time.Millisecond
	// finishTimeout bounds one statement.
	finishTimeout = 15 * time.Second
)

// finisher writes outcomes in batches: whatever has come while the last batch was being written goes out with the next.
type finisher struct {
	s       *session
	mu      sync.Mutex
	pending []outcome
	closed  bool
	more    chan struct{}
	by      string
}

func newFinisher(s *session) *finisher {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &finisher{s: s, more: make(chan struct{}, 1), by: fmt.Sprintf("%s/%d", host, os.Getpid())}
}

func (f *finisher) add(o outcome) {
	f.mu.Lock()
	f.pending = append(f.pending, o)
	n := len(f.pending)
	f.mu.Unlock()
	if n == 1 || n == mostFinished/2 {
		signal(f.more)
	}
}

// close lets run end once everything is written.
func (f *finisher) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	signal(f.more)
}

func (f *finisher) run() {
	last := 0
	for {
		if last > lingerAbove {
			f.linger()
		}
		batch, closed := f.take()
		if len(batch) == 0 {
			if closed {
				return
			}
			last = 0
			<-f.more
			continue
		}
		last = len(batch)
		f.write(batch)
	}
}

func (f *finisher) linger() {
	f.mu.Lock()
	n, closed := len(f.pending), f.closed
	f.mu.Unlock()
	if closed || n >= mostFinished/2 {
		return
	}
	timer := time.NewTimer(lingerTime)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-f.more:
			f.mu.Lock()
			n, closed = len(f.pending), f.closed
			f.mu.Unlock()
			if closed || n >= mostFinished/2 {
				return
			}
		}
	}
}

func (f *finisher) take() (batch []outcome, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(f.pending), mostFinished)
	batch = slices.Clone(f.pending[:n])
	f.pending = append(f.pending[:0], f.pending[n:]...)
	return batch, f.closed
}

// write writes a batch, sorted by id so that rows are locked in one order everywhere.
func (f *finisher) write(batch []outcome) {
	slices.SortFunc(batch, func(a, b outcome) int { return cmp.Compare(a.job.id, b.job.id) })
	for _, kind := range []outcomeKind{outcomeComplete, outcomeRetry, outcomeBury} {
		var part []outcome
		for _, o := range batch {
			if o.kind == kind {
				part = append(part, o)
			}
		}
		if len(part) > 0 {
			f.writeKind(kind, part)
		}
	}
	for _, o := range batch {
		f.s.held.settled(o.job.claim)
		f.s.lineEnded(o.job)
	}
	f.s.unsettled.Add(-int64(len(batch)))
	signal(f.s.room)
}

// writeKind repeats the statement until the server has answered: a token can be used once only, so a repetition changes
// nothing twice. It gives up when the lease is lost, and some time after the hard end: the rescue does the rest.
func (f *finisher) writeKind(kind outcomeKind, part []outcome) {
	pause, lostAnswer := firstPause, false
	for {
		done, err := f.sendTwice(kind, part)
		if err == nil {
			f.report(part, done, lostAnswer)
			return
		}
		if f.s.lost() || f.tooLate() {
			f.s.logError("outcomes could not be written, their tasks are redelivered after the lease", err)
			return
		}
		lostAnswer = lostAnswer || core.AnswerLost(err)
		f.s.logError("writing outcomes failed", err)
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}

// tooLate reports whether the process ought to have ended by now.
func (f *finisher) tooLate() bool { return f.s.life.Hard.Err() != nil }

const (
	// sqlCompleteAt and sqlComplete complete worker $1's tasks $2 under claim numbers $3, the first at the places $4 where
	// the claim had left them; the last parameter keeps them as delivered.
	sqlCompleteAt = `SELECT * FROM {schema}.strunk_complete_at($1::bigint, $2::bigint[], $3::bigint[], $4::tid[], $5::boolean)`
	sqlComplete   = `SELECT * FROM {schema}.strunk_complete($1::bigint, $2::bigint[], $3::bigint[], $4::boolean)`
	sqlRetry      = `SELECT * FROM {schema}.strunk_retry($1::bigint, $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[], $7::text[], $8::text)`
	sqlBury       = `SELECT * FROM {schema}.strunk_bury($1::bigint, $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text)`
	sqlEnded      = `SELECT * FROM {schema}.strunk_ended($1::bigint, $2::bigint[], $3::bigint[])`
	// sqlPartitions makes the partition that a move has missed.
	sqlPartitions = `SELECT {schema}.strunk_ensure_task_partitions()`
)

// sendTwice sends a batch, and once more what it missed: a row that something else has moved within the table is found by
// its id the second time.
func (f *finisher) sendTwice(kind outcomeKind, part []outcome) ([]int64, error) {
	done, err := f.send(kind, part, true)
	if err != nil || len(done) == len(part) {
		return done, err
	}
	more, err := f.send(kind, missing(part, done), false)
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

func (f *finisher) send(kind outcomeKind, part []outcome, byPlace bool) ([]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	sql, args := f.statement(kind, part, byPlace)
	var done []int64
	err := core.RetryConflicts(ctx, func() (err error) {
		done, err = f.query(ctx, sql, args)
		return err
	})
	if core.IsMissingPartition(err) {
		if _, err := f.s.rt.Pool().Exec(ctx, f.s.rt.SQL(sqlPartitions)); err != nil {
			return nil, err
		}
		return f.query(ctx, sql, args)
	}
	return done, err
}

func (f *finisher) query(ctx context.Context, sql string, args []any) (done []int64, err error) {
	conn, err := f.s.rt.Pool().Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	err = core.OneMessage(ctx, conn.Conn(), core.Statement{SQL: sql, Args: args, Scan: func(rows pgx.Rows) (err error) {
		done, err = pgx.AppendRows(make([]int64, 0, mostFinished), rows, pgx.RowTo[int64])
		return err
	}})
	return done, err
}

func (f *finisher) statement(kind outcomeKind, part []outcome, byPlace bool) (string, []any) {
	n := len(part)
	ids, claims, places := make([]int64, n), make([]int64, n), make([]pgtype.TID, n)
	delays, refunds := make([]int64, n), make([]bool, n)
	errs, stacks := make([]*string, n), make([]*string, n)
	for i, o := range part {
		ids[i], claims[i], places[i], refunds[i] = o.job.id, o.job.claim, o.job.at, o.refund
		delays[i] = int64((o.delay + time.Millisecond - 1) / time.Millisecond)
		errs[i], stacks[i] = errorTexts(o.err)
	}
	worker := f.s.lease.ID()
	switch kind {
	case outcomeComplete:
		if f.s.def.results {
			return f.completeResults(part, ids, claims)
		}
		if byPlace {
			return f.s.rt.SQL(sqlCompleteAt), []any{worker, ids, claims, places, !f.s.def.cfg.DiscardDelivered}
		}
		return f.s.rt.SQL(sqlComplete), []any{worker, ids, claims, !f.s.def.cfg.DiscardDelivered}
	case outcomeRetry:
		return f.s.rt.SQL(sqlRetry), []any{worker, ids, claims, delays, refunds, errs, stacks, f.by}
	default:
		return f.s.rt.SQL(sqlBury), []any{worker, ids, claims, errs, stacks, f.by}
	}
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

// report deals with the tasks that the statement did not find under their tokens.
func (f *finisher) report(part []outcome, done []int64, lostAnswer bool) {
	if len(done) < len(part) {
		f.reportMissing(part, done, lostAnswer)
	}
	var topics []string
	for _, o := range part {
		switch {
		case o.kind == outcomeRetry && o.delay > 0:
			topics = []string{core.TopicDue}
		case o.kind == outcomeRetry && o.err != nil:
			f.s.rt.WakeLocal(core.TopicQueue(f.s.def.name))
		}
		f.log(o)
	}
	f.s.rt.WakeLocal(topics...)
	f.announce(part, done)
}

// announce tells waiters of results and the hooks of dead letters.
func (f *finisher) announce(part []outcome, done []int64) {
	if f.s.def.results && part[0].kind != outcomeRetry {
		f.s.rt.Wake(core.TopicResult(f.s.def.name))
	}
	if part[0].kind != outcomeBury || len(f.s.undertakers) == 0 {
		return
	}
	dead := slices.DeleteFunc(slices.Clone(part), func(o outcome) bool { return !slices.Contains(done, o.job.id) })
	f.s.hooks.Go(func() {
		for _, o := range dead {
			f.s.died(o)
		}
	})
}

func (f *finisher) reportMissing(part []outcome, done []int64, lostAnswer bool) {
	var ids, claims []int64
	for _, o := range missing(part, done) {
		ids, claims = append(ids, o.job.id), append(claims, o.job.claim)
	}
	if lostAnswer { // the first try may have been committed
		ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
		defer cancel()
		ended, err := f.query(ctx, f.s.rt.SQL(sqlEnded), []any{f.s.lease.ID(), ids, claims})
		if err != nil {
			f.s.logError("looking for what a lost answer had done failed", err)
		}
		ids = slices.DeleteFunc(ids, func(id int64) bool { return slices.Contains(ended, id) })
	}
	for _, id := range ids {
		f.s.rt.Logger().Warn("strunk: an outcome was refused: the task is no longer this worker's",
			"queue", f.s.def.name, "task", id, "error", ErrLeaseLost)
	}
}

func (f *finisher) log(o outcome) {
	switch {
	case o.kind == outcomeBury:
		f.s.rt.Logger().Error("strunk: a task became a dead letter", "queue", f.s.def.name, "task", o.job.id, "attempt", o.job.attempt, why(o.err))
	case o.err != nil:
		f.s.rt.Logger().Info("strunk: a task's attempt failed", "queue", f.s.def.name, "task", o.job.id, "attempt", o.job.attempt,
			"retry_in", o.delay, why(o.err))
	}
}
