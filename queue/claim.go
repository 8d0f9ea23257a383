package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// sqlClaim claims up to $4 tasks of queue $3 for worker $1 under claim number $2, entering at marks $5, then $6, if the
	// queue's limits are of version $7.
	sqlClaim = `SELECT id, seq, created_at, due_at, timeout_ms, attempts, max_attempts, priority, dedup_key, payload, metadata, at, limit_key
FROM {schema}.strunk_claim($1::bigint, $2::bigint, $3::text, $4::integer, $5::bigint[], $6::bigint[], $7::bigint)`
	// sqlTransaction tells the claim's transaction id and the oldest that is still running.
	sqlTransaction = `SELECT pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint`
	// sqlHasPending looks whether queue $1 has a pending task behind marks $2. It writes nothing.
	sqlHasPending = `SELECT {schema}.strunk_has_pending($1::text, $2::bigint[])`
	// sqlAdvance moves the safe marks of queue $1 from $2 towards $3.
	sqlAdvance = `SELECT {schema}.strunk_advance_marks($1::text, $2::bigint[], $3::bigint[])`
	// sqlAsync makes the transaction's commit asynchronous.
	sqlAsync = `SET LOCAL synchronous_commit = off`

	// claimTimeout bounds one claim; an answer that takes longer counts as lost.
	claimTimeout = 15 * time.Second
)

// feed claims tasks and hands them to the executors, until the soft end or the loss of the lease.
func (s *session) feed() {
	woken, stop := s.rt.Subscribe(core.TopicQueue(s.def.name))
	defer stop()
	ctx, cancel := context.WithCancel(s.life.Soft)
	defer cancel()
	go func() {
		select {
		case <-s.lease.Lost():
			cancel()
		case <-ctx.Done():
		}
	}()
	pause, look := firstPause, true // whether there is a reason to claim without looking first
	for idle := true; ctx.Err() == nil; {
		s.walkLines(ctx, idle)
		if !s.awaitResume(ctx) || !s.awaitRoom(ctx) {
			return
		}
		if s.orders.paused.Load() {
			continue
		}
		want := s.want()
		n, err := s.claimIfAny(ctx, want, look)
		if s.orders.paused.Load() { // meanwhile: nobody else gives back what has just come
			s.giveBackReady()
		}
		switch {
		case core.SQLState(err) == core.CodeLimitsChanged:
			s.rereadLimits(ctx)
			look = true
			continue
		case err != nil:
			s.logError("a claim failed", err)
			look = true
		case n == want || s.more:
			pause, look, idle = firstPause, true, false
			continue
		case n > 0:
			pause = firstPause
		}
		idle = n == 0
		look = s.idle(ctx, woken, pause) || err != nil
		pause = min(2*pause, s.poll)
	}
}

// idle waits for a wake-up or for the pause, and reports which: true for a wake-up.
func (s *session) idle(ctx context.Context, woken <-chan struct{}, pause time.Duration) bool {
	timer := time.NewTimer(s.lookAgain(min(pause, s.poll)))
	defer timer.Stop()
	select {
	case <-woken:
		return true
	case <-s.line.call:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// awaitRoom waits until a claim is worth its round trip: half of what may be claimed ahead is free, or nothing waits.
func (s *session) awaitRoom(ctx context.Context) bool {
	for {
		again, stop := s.renewShare(ctx)
		if want := s.want(); want > 0 && (2*want >= min(s.ahead(), mostClaimed) || s.waiting.Load() == 0) {
			stop()
			return true
		}
		select {
		case <-s.room:
		case <-again:
		case <-ctx.Done():
			stop()
			return false
		}
		stop()
	}
}

// ahead is how many tasks may be claimed and not ended: the concurrency, and what handlers of this pace do in aheadTime.
func (s *session) ahead() int {
	n, most := int64(s.opts.concurrency), int64(max(mostAhead, s.opts.concurrency))
	if s.inForce().exact() {
		return int(n)
	}
	if perTask := s.pace.perTask(time.Now(), n, s.slots.running() > 0); perTask > 0 {
		n += n * int64(aheadTime) / int64(perTask)
	}
	return int(min(n, most))
}

func (s *session) want() int {
	free := s.ahead() - int(s.waiting.Load()) - s.slots.running()
	if s.inForce().shared {
		free = min(free, s.shareLeft())
	}
	return min(free, mostClaimed, max(mostUnsettled, s.opts.concurrency)-int(s.unsettled.Load()))
}

// claimIfAny claims; without a reason to expect work it looks first, which costs the database no transaction id. While
// the safe marks are behind it claims all the same: a claim's transaction id is what moves them.
func (s *session) claimIfAny(ctx context.Context, want int, expected bool) (int, error) {
	if s.line.rate.After(time.Now()) {
		return 0, nil // the rate of the queue lets none begin yet
	}
	if !expected && !s.line.toCall() && s.marks.settled() && !s.marks.bottom.allowed(time.Now(), bottomInterval) {
		var any bool
		ctx, cancel := context.WithTimeout(ctx, claimTimeout)
		defer cancel()
		err := s.rt.Pool().QueryRow(ctx, s.rt.SQL(sqlHasPending), s.def.name, s.marks.safe).Scan(&any)
		if err != nil || !any {
			return 0, err
		}
	}
	return s.claim(ctx, want)
}

// claim claims up to want tasks and hands them on after the commit.
func (s *session) claim(ctx context.Context, want int) (int, error) {
	conn, err := s.rt.Pool().Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	number, e := s.held.next(), s.marks.enter(time.Now())
	var jobs []*job
	var xid, xmin int64
	lined := s.inForce().lined()
	var keys []string
	var places []int64
	var answer lineAnswer
	statement := s.claimStatement(number, want, e, &jobs)
	if lined {
		keys, places = s.line.takeDone()
		statement = s.lineStatement(number, want, e, keys, places, &jobs, &answer)
	}
	// Once sent, a claim is waited for also at the soft end: its answer says what there is to give back.
	sent, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	err = core.OneMessage(sent, conn.Conn(), s.claimStatements(statement, &xid, &xmin)...)
	if s.more = answer.more; err != nil {
		s.line.restore(keys, places)
		return 0, s.claimFailed(number, err)
	}
	s.held.answered(number, len(jobs))
	s.unsettled.Add(int64(len(jobs)))
	s.waiting.Add(int64(len(jobs)))
	for _, j := range jobs {
		s.ready <- j
	}
	if answer.putOff {
		s.rt.WakeLocal(core.TopicDue)
	}
	if lined {
		s.marks.answeredLine(e, answer.reached, len(jobs), want, xid, xmin, time.Now())
	} else {
		s.marks.answered(e, jobs, want, xid, xmin, time.Now())
	}
	return len(jobs), s.advance(sent, conn.Conn(), xmin)
}

func (s *session) claimStatement(number int64, want int, e entry, jobs *[]*job) core.Statement {
	return core.Statement{SQL: s.rt.SQL(sqlClaim),
		Args: []any{s.lease.ID(), number, s.def.name, want, e.first, e.second, s.inForce().version},
		Scan: func(rows pgx.Rows) (err error) {
			*jobs, err = s.scanJobs(rows, number, want)
			return err
		}}
}

func (s *session) claimStatements(claim core.Statement, xid, xmin *int64) []core.Statement {
	about := core.Statement{SQL: sqlTransaction, Scan: func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{xid, xmin}, func() error { return nil })
		return err
	}}
	if s.rt.Settings().SyncClaims {
		return []core.Statement{claim, about}
	}
	return []core.Statement{{SQL: sqlAsync}, claim, about}
}

// claimFailed sorts out what an error says about the claim: nothing was claimed if the server answered with it, and
// otherwise the number is voided.
func (s *session) claimFailed(number int64, err error) error {
	if core.AnswerLost(err) {
		s.held.lost(number)
		s.lease.Void(number)
	} else {
		s.held.answered(number, 0)
	}
	return fmt.Errorf("strunk/queue: claim: %w", err)
}

// advance moves the safe marks where the time has come.
func (s *session) advance(ctx context.Context, conn *pgx.Conn, xmin int64) error {
	began := time.Now()
	if !s.marks.ripe(xmin, began) {
		return nil
	}
	var safe []int64
	if err := conn.QueryRow(ctx, s.rt.SQL(sqlAdvance), s.def.name, s.marks.safe, s.marks.candidate).Scan(&safe); err != nil {
		return fmt.Errorf("strunk/queue: moving the safe marks: %w", err)
	}
	s.marks.advanced(safe, began, time.Now())
	return nil
}

// scanJobs reads a claim's rows; they are in claim order.
func (s *session) scanJobs(rows pgx.Rows, number int64, want int) ([]*job, error) {
	slab := make([]job, 0, want)
	for rows.Next() {
		slab = append(slab, job{claim: number, queue: s.def.name, logger: s.rt.Logger(), s: s})
		if err := scanJob(rows, &slab[len(slab)-1], s.opts.timeout); err != nil {
			return nil, err
		}
	}
	jobs := make([]*job, len(slab))
	for i := range slab {
		jobs[i] = &slab[i]
	}
	return jobs, rows.Err()
}

// scanJob reads a row of a claim, and whatever columns come after.
func scanJob(rows pgx.Row, j *job, timeout time.Duration, more ...any) error {
	var due finite
	var timeoutMS *int32
	var dedup, key *string
	var attempts, most, priority int16
	into := []any{&j.id, &j.seq, &j.createdAt, &due, &timeoutMS, &attempts, &most, &priority, &dedup, &j.payload, &j.metadataJSON, &j.at, &key}
	if err := rows.Scan(append(into, more...)...); err != nil {
		return err
	}
	j.key = orElse(key, "")
	j.attempt, j.maxAttempts, j.priority = int(attempts), int(most), int(priority)
	j.dueAt, j.dedupKey, j.timeout = orElse(due.t, j.createdAt), orElse(dedup, ""), timeout
	if timeoutMS != nil {
		j.timeout = time.Duration(*timeoutMS) * time.Millisecond
	}
	return nil
}

// finite is a time that may be missing. What a person has set to infinity, which no time.Time can say, counts as missing: a
// row that cannot be read would keep all of its claim from being worked.
type finite struct{ t *time.Time }

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (f *finite) ScanTimestamptz(v pgtype.Timestamptz) error {
	if f.t = nil; v.Valid && v.InfinityModifier == pgtype.Finite {
		f.t = &v.Time
	}
	return nil
}
