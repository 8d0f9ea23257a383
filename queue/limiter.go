package queue

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// limiter is what the limits of a queue add to a session: the claimer asks it before and after each claim, and the
// completer tells it what has ended. For a queue without limits each method does nothing.
type limiter struct {
	rt          core.Runtime
	queue       string
	declared    Limits
	concurrency int
	duration    time.Duration // of the lease
	poll        time.Duration
	numbers     *claimNumbers
	buffer      *prefetch
	lease       core.Lease // set before the first claim

	current atomic.Pointer[inForce]
	share   share
	line    line
}

func newLimiter(rt core.Runtime, w *worker, poll time.Duration, numbers *claimNumbers, buffer *prefetch) *limiter {
	l := &limiter{rt: rt, queue: w.def.name, declared: w.def.cfg.Limits, concurrency: w.opts.concurrency,
		duration: w.opts.lease, poll: poll, numbers: numbers, buffer: buffer}
	l.line.done, l.line.call, l.line.walking = map[string]int64{}, make(chan struct{}, 1), true
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
	if l.inForce().shared {
		return min(free, l.shareLeft())
	}
	return free
}

// blocked reports whether the rate of the queue lets no task begin yet.
func (l *limiter) blocked(now time.Time) bool { return l.line.rate.After(now) }

// mustClaim reports whether the next claim has something to do even if no task is pending.
func (l *limiter) mustClaim() bool { return l.line.toCall() }

// wake is signalled when there is a reason to claim.
func (l *limiter) wake() <-chan struct{} { return l.line.call }

// ended is told of a task whose outcome was written.
func (l *limiter) ended(j *job) {
	if j.key != "" && l.inForce().keyed() {
		l.line.ended(j.key, j.place)
	}
}

// declare makes what the program declares take effect, where it is new.
func (l *limiter) declare(ctx context.Context) error {
	err := l.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn, core.Statement{SQL: l.rt.SQL(sqlDeclareLimits), Args: l.declared.args(l.queue)})
		})
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: declaring the limits of queue %q: %w", l.queue, err)
	}
	return nil
}

// read returns the statement that reads the limits in force, and a function that makes the session obey them.
func (l *limiter) read() (read core.Statement, obey func()) {
	limits := &inForce{}
	read = core.Statement{SQL: l.rt.SQL(sqlLimits), Args: []any{l.queue},
		Scan: func(rows pgx.Rows) error { return scanLimits(rows, limits) }}
	return read, func() { l.current.Store(limits) }
}

func (l *limiter) warn(what string, err error) { logWarning(l.rt, l.queue, what, err) }

// limitedClaim is one claim of a queue with limits of keys or rates; nil for another.
type limitedClaim struct {
	limits *limiter
	keys   []string // that it calls
	places []int64

	reached []int64
	more    bool
	putOff  bool
}

// statement replaces the statement of a claim where the limits ask for another one.
func (l *limiter) statement(s *core.Statement, c *claimer, number int64, limit int, e entry, into *claimed) *limitedClaim {
	if !l.inForce().lined() {
		return nil
	}
	a := &limitedClaim{limits: l}
	into.allowance = allowance{}
	a.keys, a.places = l.line.takeDone()
	*s = core.Statement{SQL: l.rt.SQL(sqlClaimLine),
		Args: []any{l.lease.ID(), number, l.queue, limit, e.first, e.second, l.inForce().version,
			l.line.turns, l.line.lines, e.arrived, a.keys, a.places},
		Scan: func(rows pgx.Rows) (err error) {
			into.jobs, err = l.scan(rows, c, number, limit, a)
			return err
		}}
	return a
}

// answered records what came of the claim, and reports whether there is more to claim.
func (a *limitedClaim) answered(err error) (more bool) {
	switch {
	case a == nil:
		return false
	case err != nil:
		a.limits.line.restore(a.keys, a.places)
	case a.putOff:
		a.limits.rt.WakeLocal(core.TopicDue)
	}
	return a.more
}
