package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// firstPause is the first pause after an error, or after a claim that found nothing. It doubles
	// up to the poll interval.
	firstPause = core.FirstPause
	// aheadTime is how much work a worker claims ahead, measured by the time that its handlers take.
	aheadTime = 20 * time.Millisecond
	// claimTimeout is the patience of claims.
	claimTimeout = 15 * time.Second
)

// claimer claims tasks and puts them into the prefetch buffer. Its methods belong to one goroutine.
type claimer struct {
	rt          core.Runtime
	queue       string
	concurrency int
	timeout     time.Duration // of tasks that have none of their own
	patience    time.Duration // bounds one claim; an answer that takes longer counts as lost
	size        claimSize
	carries     bool // the time-outs are for those who handle the tasks
	poll        time.Duration
	lease       core.Lease
	numbers     *claimNumbers
	latency     *latency
	control     *controller
	limits      *limiter
	buffer      *prefetch
	starter     *starter
	passage     *passage
	claimSlots  claimSlots
	fence       *fence
	steps       []string // Config.Steps
	holder      *holder
	marks       *watermarks
	below       *belowLook
	// giveBackReady gives back the tasks that have not started.
	giveBackReady func()

	life      core.Life // is told when the first claim has been answered, or that none is due
	work      bool      // there was something to claim when the session began
	questions *questions
	woken     <-chan struct{} // by announcements of tasks
	fullPolls int64           // see core.Host.FullPolls

	breaks      int64 // see obeyBreaks
	connections connections

	alert  core.Alertness
	pauses core.Pauses

	more bool // the last claim has left tasks that could be claimed
}

// run claims until soft ends or the lease is lost.
func (c *claimer) run(soft context.Context) {
	woken, stop := c.rt.Subscribe(core.TopicQueue(c.queue))
	defer stop()
	c.woken = woken
	defer c.claimSlots.rest()
	defer c.below.running.Wait()
	ctx, cancel := context.WithCancel(soft)
	defer cancel()
	go func() {
		select {
		case <-c.lease.Lost():
			cancel()
		case <-ctx.Done():
		}
	}()
	expected := true // there is a reason to claim without looking first
	if !c.work {
		c.life.Begun()
		expected = c.idle(ctx, firstPause)
	}
	for quiet, first := true, true; ctx.Err() == nil; first = false { // quiet: the last claim found nothing
		if !c.prepare(ctx, quiet, first) {
			return
		}
		found, again, err := c.round(ctx, expected)
		c.claimSlots.endRound(again)
		c.life.Begun()
		c.stayAlert(ctx, found)
		if found > 0 || again {
			c.pauses.Restart()
		}
		quiet = found == 0 && !again
		pause := c.pauses.Take(c.poll)
		if err == nil { // after an error not even a worker that is awake asks each millisecond
			pause = c.alert.Pause(pause)
		}
		expected = again || c.idle(ctx, pause) || err != nil
	}
}

// prepare does what is due before a claim, and waits until there may be one. It reports false at the end of ctx.
func (c *claimer) prepare(ctx context.Context, quiet, first bool) bool {
	c.obeyBreaks(ctx)
	if c.control.isPaused() {
		c.passage.through(claimErrand)
		c.life.Begun()
	}
	c.limits.obeyVersion()
	if !first {
		c.limits.sweep(ctx, quiet)
	}
	return c.control.awaitResume(ctx, c.claimSlots.rest) && c.awaitRoom(ctx)
}

// round is one claim. again says that there is a reason for another one at once.
func (c *claimer) round(ctx context.Context, expected bool) (found int, again bool, err error) {
	if c.control.isPaused() {
		return 0, true, nil
	}
	limit, bytes := c.size.Now(c.free())
	found, err = c.claimIfAny(ctx, limit, bytes, expected)
	if c.control.isPaused() { // since the claim was sent: nobody else gives back what has just come
		c.giveBackReady()
	}
	switch {
	case core.SQLState(err) == core.CodeLimitsChanged:
		c.reread(ctx)
		return 0, true, nil
	case err != nil:
		c.warn("a claim failed; trying again", err)
		return found, false, err
	}
	return found, found == limit || c.more || c.claimSlots.again, nil
}

// obeyBreaks reads every position anew where the database may not be where the last claim left it: after a break that
// somebody has noticed, and before the first claim over a connection.
func (c *claimer) obeyBreaks(ctx context.Context) {
	if breaks := c.rt.Breaks(); breaks != c.breaks || c.connections.doubted {
		c.breaks, c.connections.doubted = breaks, false
		c.alert.Doubt()
		c.marks = newWatermarks()
		c.limits.reload()
		c.numbers.reload()
		c.lease.Compare()
		c.reread(ctx)
	}
}

// reread reads the limits that are in force, after a claim was refused because they had changed, or after a break.
func (c *claimer) reread(ctx context.Context) {
	if err := c.control.refresh(ctx); err != nil {
		c.warn("reading the limits failed; trying again", err)
		core.Sleep(ctx, firstPause)
	}
}

func (c *claimer) warn(what string, err error) { logWarning(c.rt, c.queue, what, err) }

// awaitRoom blocks until half of the prefetch buffer is free, or nothing waits in it, so that small claims do not
// cost a round trip each, and until the worker has a slot where it shares some. It reports false at the end of ctx.
func (c *claimer) awaitRoom(ctx context.Context) bool {
	for {
		again, stop := c.limits.renew(ctx)
		var slot <-chan struct{}
		if free := c.free(); free > 0 && (2*free >= min(c.ahead(), maxClaimed) || c.buffer.waiting.Load() == 0) {
			if c.claimSlots.ready() {
				stop()
				return true
			}
			slot = c.claimSlots.granted()
		} else {
			c.claimSlots.rest()
		}
		c.passage.through(claimErrand) // no claim is due
		c.life.Begun()
		select {
		case <-c.buffer.room:
		case <-slot:
			c.claimSlots.endWait()
		case <-again:
		case <-ctx.Done():
			stop()
			return false
		}
		stop()
	}
}

// ahead is how many tasks may be claimed and not ended: the concurrency, and what handlers of this latency do in
// aheadTime.
func (c *claimer) ahead() int {
	n, bound := int64(c.concurrency), int64(max(maxAhead, c.concurrency))
	if c.limits.exact() {
		return int(n)
	}
	if perTask := c.latency.perTask(time.Now(), n, c.buffer.running.Load() > 0); perTask > 0 {
		n += n * int64(aheadTime) / int64(perTask)
	}
	return int(min(n, bound))
}

// perSlot is how many tasks are claimed for a shared slot: one, and what handlers of this latency do in aheadTime.
func (c *claimer) perSlot() int {
	perTask := c.latency.average()
	if perTask <= 0 || c.limits.exact() {
		return 1
	}
	return 1 + int(min(aheadTime/perTask, maxAhead))
}

// free is how many tasks may be claimed now.
func (c *claimer) free() int {
	free := c.ahead() - int(c.buffer.waiting.Load()) - int(c.buffer.running.Load())
	return min(c.limits.bound(free), maxClaimed, c.buffer.unsettledRoom(c.concurrency))
}

// claimIfAny claims up to limit tasks, of up to so many bytes. Without a reason to expect any it looks first, which
// costs the database no transaction id.
func (c *claimer) claimIfAny(ctx context.Context, limit int, bytes int64, expected bool) (n int, err error) {
	c.more = false
	c.claimSlots.begin()
	if c.limits.blocked(time.Now()) {
		return 0, nil
	}
	c.passage.begin(claimErrand)
	defer func() { c.passage.end(claimErrand, err) }()
	if !expected && !c.mustClaim() {
		if any, err := c.look(ctx); err != nil || !any {
			return 0, err
		}
	}
	if limit = c.claimSlots.take(limit, c.perSlot); c.claimSlots.wanted {
		return 0, nil
	}
	return c.claim(ctx, limit, bytes)
}

// claimed is the answer to one claim.
type claimed struct {
	allowance allowance
	jobs      []*job
	xid, xmin int64
	backlog   bool // tasks with customer keys wait, or have arrived since the last admission
}

// claim claims up to limit tasks, and hands them on after the commit.
func (c *claimer) claim(ctx context.Context, limit int, bytes int64) (int, error) {
	conn, err := c.rt.Pool().Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	if c.connections.newcomer(conn.Conn()) {
		c.more = true
		return 0, nil
	}
	c.lookBelow(ctx)
	number, e := c.numbers.next(), c.marks.enter(time.Now())
	var answer claimed
	answer.allowance = c.starter.beforeClaim(c.claimSlots.taken)
	statement := c.statement(number, limit, bytes, e, &answer)
	round := c.limits.beginRound(limit, e.first, time.Now())
	// A claim that was sent is waited for also after the soft end: its answer says what there is to give back.
	sent, cancel := core.Outlasting(ctx, c.limits.end, c.patience)
	defer cancel()
	err = core.OneMessage(sent, conn.Conn(), c.message(round, statement, &answer)...)
	c.more = c.limits.endRound(round, answer, err)
	if err != nil {
		c.starter.claimFailed()
		return 0, c.failed(number, err)
	}
	c.numbers.answered(number, len(answer.jobs))
	c.buffer.slots.claimed(len(answer.jobs), c.claimSlots.claimed(len(answer.jobs), limit))
	if c.size.claimed(answer.jobs, bytes) { // before middleware may change the payloads
		c.more, limit = true, len(answer.jobs)
	}
	c.starter.claimed(answer.jobs, answer.allowance)
	about := claimAnswer{found: len(answer.jobs), limit: limit, xid: answer.xid, xmin: answer.xmin}
	c.marks.answered(e, answer.jobs, about, time.Now())
	return len(answer.jobs), c.advance(sent, conn.Conn(), answer.xmin)
}

// sqlClaim claims up to $4 tasks of queue $3 for worker $1 under claim number $2. It enters at
// watermarks $5, then at $6, and does nothing unless the queue's limits are of version $7. Its
// payloads are bounded by $8 bytes. If it claims no more than $9 tasks, they may start: it says so as
// write $10 of strunk_starts, with what has started ($11), and no more than $12 as started.
const sqlClaim = `SELECT id, seq, created_at, due_at, timeout_ms, attempts, max_attempts, priority, dedup_key,
	payload, metadata, at, customer_key, possibly_started, begin_in_ms
FROM {schema}.strunk_claim($1::bigint, $2::bigint, $3::text, $4::integer, $5::bigint[], $6::bigint[], $7::bigint,
	$8::bigint, $9::integer, $10::bigint, $11::bigint[], $12::integer)`

func (c *claimer) statement(number int64, limit int, bytes int64, e entry, into *claimed) core.Statement {
	sql, args := sqlClaim, []any{c.lease.ID(), number, c.queue, limit, e.first, e.second, c.limits.sentVersion(),
		bytes, into.allowance.tasks, into.allowance.write, into.allowance.started[:], into.allowance.atOnce}
	if c.limits.inForce().rated() {
		into.allowance = allowance{} // strunk_claim_rated writes none: the starter does, after the claim
		sql, args = sqlClaimRated, args[:8]
	}
	return core.Statement{SQL: c.rt.SQL(sql), Args: args,
		Scan: func(rows pgx.Rows) (err error) {
			into.jobs, err = c.scan(rows, number, limit)
			return err
		}}
}

const (
	// sqlAbout returns the claim's transaction id, the oldest id that is still running, and whether
	// a task with a customer key waits in queue $1 above seq $2.
	sqlAbout = `SELECT pg_catalog.pg_current_xact_id()::text::bigint,
	pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint,
	{schema}.strunk_has_backlog($1::text, $2::bigint)`
	// sqlAsync makes the transaction's commit asynchronous.
	sqlAsync = `SET LOCAL synchronous_commit = off`
)

// message is the claim with what goes along in its transaction.
func (c *claimer) message(r *round, claim core.Statement, into *claimed) (all []core.Statement) {
	about := core.Statement{SQL: c.rt.SQL(sqlAbout), Args: []any{c.queue, c.limits.looked()},
		Scan: func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&into.xid, &into.xmin, &into.backlog}, func() error { return nil })
			return err
		}}
	if !c.rt.Settings().SyncClaims {
		all = append(all, core.Statement{SQL: sqlAsync})
	}
	before, after := c.limits.around(r)
	return append(append(append(all, before...), claim, about), after...)
}

// failed records what an error says about the claim. Where the server answered with it, nothing was claimed. Otherwise
// the claim may have taken tasks, and its number is voided.
func (c *claimer) failed(number int64, err error) error {
	if rows, bytes, halved := c.size.Failed(err); halved {
		c.rt.Logger().Warn("strunk: a claim took too long; the next ones are smaller", "queue", c.queue,
			"max_tasks", rows, "max_bytes", bytes)
	}
	if core.AnswerLost(err) {
		c.numbers.lost(number)
		c.lease.Void(number)
	} else {
		c.numbers.answered(number, 0)
	}
	return fmt.Errorf("strunk/queue: claim: %w", err)
}

// sqlAdvance moves the low watermarks of queue $1 from $2 towards $3.
const sqlAdvance = `SELECT {schema}.strunk_advance_watermarks($1::text, $2::bigint[], $3::bigint[])`

// advance moves the low watermarks if the candidate is ripe.
func (c *claimer) advance(ctx context.Context, conn *pgx.Conn, xmin int64) error {
	began := time.Now()
	if !c.marks.ripe(xmin, began) {
		return nil
	}
	var low []int64
	if err := conn.QueryRow(ctx, c.rt.SQL(sqlAdvance), c.queue, c.marks.low, c.marks.candidate).Scan(&low); err != nil {
		return fmt.Errorf("strunk/queue: moving the low watermarks: %w", err)
	}
	c.marks.advanced(low, began, time.Now())
	return nil
}

// scan reads a claim's rows, which are in claim order.
func (c *claimer) scan(rows pgx.Rows, number int64, limit int) ([]*job, error) {
	slab, row, now := make([]job, 0, limit), newJobRow(), time.Now()
	for rows.Next() {
		slab = append(slab, c.newJob(number, now))
		if err := row.scan(rows, &slab[len(slab)-1], c.timeout); err != nil {
			return nil, err
		}
		if c.carries {
			slab[len(slab)-1].timeout = c.timeout
		}
	}
	jobs := make([]*job, len(slab))
	for i := range slab {
		jobs[i] = &slab[i]
	}
	return inOrder(jobs), rows.Err()
}

func (c *claimer) newJob(number int64, now time.Time) job {
	return job{claim: number, arrived: now, queue: c.queue, logger: c.rt.Logger(), fence: c.fence,
		holder: c.holder, steps: stepNames{declared: c.steps}}
}

// inOrder sorts the jobs of one claim by their positions: the second pass may have found some that
// belong before others.
func inOrder(jobs []*job) []*job {
	byPosition := func(a, b *job) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq))
	}
	if !slices.IsSortedFunc(jobs, byPosition) {
		slices.SortStableFunc(jobs, byPosition)
	}
	return jobs
}
