package queue

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// limiter is what the limits of a queue add to a session: the claimer asks it before and after each claim, and the
// completer tells it what has ended. For a queue without limits each method does nothing.
type limiter struct {
	end         context.Context // of all statements
	rt          core.Runtime
	queue       string
	declared    Limits
	concurrency int
	duration    time.Duration // of the lease
	poll        time.Duration
	numbers     *claimNumbers
	buffer      *prefetch
	lease       core.Lease // set before the first claim
	passage     *passage

	current   atomic.Pointer[inForce]
	quota     quota
	admission admission
	rate      time.Time // when the queue's rate lets the next task begin; zero for now
}

func newLimiter(end context.Context, rt core.Runtime, w *worker, poll time.Duration, numbers *claimNumbers,
	buffer *prefetch) *limiter {
	l := &limiter{end: end, rt: rt, queue: w.def.name, declared: w.def.cfg.Limits, concurrency: w.opts.concurrency,
		duration: w.opts.lease, poll: poll, numbers: numbers, buffer: buffer}
	l.admission.released = releasedKeys{keys: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	l.admission.sweep.running = true
	return l
}

var noLimits inForce

// inForce are the limits that the session knows of.
func (l *limiter) inForce() *inForce {
	if in := l.current.Load(); in != nil {
		return in
	}
	return &noLimits
}

// exact reports whether a task must begin as soon as it is claimed.
func (l *limiter) exact() bool { return l.inForce().exact() }

// bound returns how many of free tasks may be claimed.
func (l *limiter) bound(free int) int {
	if l.inForce().bounded {
		return min(free, l.quotaLeft())
	}
	return free
}

// blocked reports whether the rate of the queue lets no task begin yet.
func (l *limiter) blocked(now time.Time) bool { return l.rate.After(now) }

// mustClaim reports whether the next claim has something to do even if no task is pending.
func (l *limiter) mustClaim() bool {
	return l.admission.released.any() || l.admission.arrivals.top > l.admission.arrivals.settled
}

// wake is signalled when there is a reason to claim.
func (l *limiter) wake() <-chan struct{} { return l.admission.released.wake }

// nudge gives a claimer that sleeps a reason to claim.
func (l *limiter) nudge() { signal(l.admission.released.wake) }

// ended is told of a task whose outcome was written.
func (l *limiter) ended(j *job) {
	if j.key != "" && l.inForce().releases() {
		l.admission.released.add(j.key)
	}
}

// declaration is the statement that makes what the program declares take effect, where it is new.
func (l *limiter) declaration() core.Statement {
	return core.Statement{SQL: l.rt.SQL(sqlDeclareLimits), Args: append(l.declared.args(l.queue), l.declared.Version)}
}

// read returns the statement that reads the limits in force, and a function that makes the session obey them.
func (l *limiter) read() (read core.Statement, obey func()) {
	limits := &inForce{}
	read = core.Statement{SQL: l.rt.SQL(sqlLimits), Args: []any{l.queue},
		Scan: func(rows pgx.Rows) error { return scanLimits(rows, limits) }}
	return read, func() { l.current.Store(limits) }
}

// reload forgets every position: see core.Host.Breaks.
func (l *limiter) reload() { l.admission.version = unknownVersion }

func (l *limiter) warn(what string, err error) { logWarning(l.rt, l.queue, what, err) }

// sentVersion is the version of the limits under which claims and admissions go out: the one that the claimer's numbers
// are about. inForce may be newer at any moment; under its version the database would let a claim pass whose size was
// reckoned with a quota of the old limit.
func (l *limiter) sentVersion() int64 { return l.admission.version }

// obeyVersion is called before each claim: it forgets what was known under other limits.
func (l *limiter) obeyVersion() {
	if version := l.inForce().version; l.admission.version != version {
		l.admission.obeyVersion(version)
		l.rate, l.quota.last = time.Time{}, time.Time{} // nothing more begins under a quota of the old limit
	}
}

// sleep bounds how long the claimer may sleep by what nobody wakes it for.
func (l *limiter) sleep(pause time.Duration) time.Duration {
	now := time.Now()
	keys, next := l.admission.waits.due(now)
	if len(keys) > 0 {
		l.admission.released.add(keys...)
	}
	for _, at := range []time.Time{next, l.rate} {
		if at.After(now) {
			pause = min(pause, at.Sub(now))
		}
	}
	if l.inForce().bounded {
		pause = min(pause, l.quotaInterval())
	}
	return l.admission.sweep.pause(pause)
}

const (
	// sqlClaimRated is sqlClaim for a queue with rates.
	sqlClaimRated = `SELECT id, seq, created_at, due_at, timeout_ms, attempts, max_attempts, priority, dedup_key,
	payload, metadata, at, customer_key, possibly_started, begin_in_ms
FROM {schema}.strunk_claim_rated($1::bigint, $2::bigint, $3::text, $4::integer, $5::bigint[], $6::bigint[], $7::bigint,
	$8::bigint)`
	// sqlRateWait returns how many microseconds it takes until the rate of queue $1 lets a task begin.
	sqlRateWait = `SELECT {schema}.strunk_rate_wait_us($1::text)`
)

// around returns the statements that go out before and after a claim.
func (l *limiter) around(r *round) (before, after []core.Statement) {
	if r != nil {
		before = []core.Statement{r.statement()}
	}
	if l.inForce().Rate.Count > 0 {
		after = append(after, core.Statement{SQL: l.rt.SQL(sqlRateWait), Args: []any{l.queue}, Scan: l.scanRate})
	}
	return before, after
}

func (l *limiter) scanRate(rows pgx.Rows) error {
	wait, err := pgx.CollectOneRow(rows, pgx.RowTo[int64])
	l.rate = time.Now().Add(time.Duration(wait) * time.Microsecond)
	return err
}
