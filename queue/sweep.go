package queue

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// sweep is a look at all keys of the backlog, some at a time. It finds what no admission looks at:
// because a process died, a dead letter was purged, or a row was changed by hand.
type sweep struct {
	running  bool
	after    string    // the key that it has come to
	found    bool      // this sweep, or the last, has found a key that waits
	admitted bool      // this sweep has admitted a task
	ended    time.Time // when the last sweep ended
	cost     scanCost
}

// sweptAtOnce bounds the keys of one statement.
const sweptAtOnce = 500

// sqlSweep looks at up to $3 keys of queue $1 after key $2; $4 is below all turns of keys.
const sqlSweep = `SELECT last_key, admitted FROM {schema}.strunk_sweep_backlog($1::text, $2::text, $3::integer,
	$4::bigint)`

// spare leaves out the first sweep, where nothing waits.
func (s *sweep) spare(now time.Time) { s.running, s.ended = false, now }

func (s *sweep) restart() { *s = sweep{running: true, ended: s.ended} }

// pause is how long the claimer may sleep at most.
func (s *sweep) pause(longest time.Duration) time.Duration {
	if s.running {
		return min(longest, max(firstPause, s.cost.cost))
	}
	return longest
}

// allowed reports whether the next statement may go out. A sweep leaves a busy worker most of the time.
func (s *sweep) allowed(now time.Time, idle bool) bool {
	if idle {
		return now.Sub(s.cost.last) >= s.cost.cost
	}
	return s.cost.allowed(now, firstPause)
}

// sweep goes on with a sweep where it is time to. One begins a poll interval after the last has
// ended, and after each change of limits.
func (l *limiter) sweep(ctx context.Context, idle bool) {
	s, now := &l.admission.sweep, time.Now()
	if !s.running && (l.inForce().keyed() || s.found) && now.Sub(s.ended) >= l.poll {
		s.restart()
	}
	if !s.running || !s.allowed(now, idle) {
		return
	}
	last, admitted, err := l.sweepSome(ctx, s.after)
	s.cost.done(now, time.Now())
	switch {
	case err != nil:
		l.warn("a sweep over the keys that wait failed; trying again", err)
		s.cost.cost = l.poll
		return
	case last == nil:
		s.running, s.ended = false, time.Now()
		if s.admitted && !l.inForce().keyed() { // there may be more of the same keys
			s.ended = time.Time{}
		}
	default:
		s.after, s.found = *last, true
	}
	if admitted > 0 {
		s.admitted = true
		signal(l.admission.released.wake)
	}
}

func (l *limiter) sweepSome(ctx context.Context, after string) (last *string, admitted int64, err error) {
	err = l.background(ctx, core.Statement{SQL: l.rt.SQL(sqlSweep),
		Args: []any{l.queue, after, sweptAtOnce, l.admission.lowTurn},
		Scan: func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&last, &admitted}, func() error { return nil })
			return err
		}})
	return last, admitted, err
}
