package queue

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// admission is what a session knows of the key backlogs of its queue. Tasks with a customer key
// wait there until a worker admits them, which it does together with a claim. All but released
// belongs to the claimer.
type admission struct {
	released releasedKeys

	keyed    bool  // the queue has, or has had, tasks with customer keys
	version  int64 // of the limits that the rest is about
	arrivals arrivals
	waits    keyWaits
	lowSeq   int64 // no task waits at or below it
	lowSlot  int64 // no task has a slot at or below it
	lowTurn  int64 // no key has a turn at or below it
	sweep    sweep
}

// arrivals say where admissions look for tasks that have arrived in the backlog.
type arrivals struct {
	top     int64 // what has arrived up to here has been looked at, but for what was committed late
	settled int64 // nothing arrives at or below it any more, and all has been looked at
	// settled becomes candidate when all transactions up to candidateXID have ended: see watermarks.
	candidate, candidateXID, xmin int64
	late                          scanCost // of looks at what was committed late
}

// enter returns where the next admission looks for late arrivals; nil for nowhere.
func (a *arrivals) enter(now time.Time) (late *int64) {
	if a.top > a.settled && (a.ripe() || a.late.allowed(now, 0)) {
		from := a.settled
		return &from
	}
	return nil
}

func (a *arrivals) ripe() bool { return a.candidateXID != 0 && a.xmin > a.candidateXID }

// looked records an admission that began with entry late and looked at all up to top, and of the
// late arrivals up to lateTop (nil for all).
func (a *arrivals) looked(late *int64, top, lateTop int64, began, now time.Time) {
	if late != nil {
		a.late.done(began, now)
	}
	if late != nil && a.ripe() {
		a.settled = a.candidate
		if lateTop > 0 {
			a.settled = min(a.candidate, lateTop)
		}
		a.candidate, a.candidateXID = 0, 0
	}
	a.top = max(a.top, top)
}

// ended records the transaction ids of an admission that was answered.
func (a *arrivals) ended(xid, xmin int64) {
	a.xmin = xmin
	switch {
	case a.candidate == 0 && a.top > a.settled:
		a.candidate = a.top
	case a.candidate != 0 && a.candidateXID == 0:
		a.candidateXID = xid
	}
}

// releasedKeys are keys of which tasks have ended: their next tasks are to be admitted.
type releasedKeys struct {
	mu   sync.Mutex
	keys map[string]struct{}
	wake chan struct{} // signalled when there are some
}

// maxReleased bounds the keys of one admission; the others wait for the next.
const maxReleased = 2000

func (r *releasedKeys) add(keys ...string) {
	r.mu.Lock()
	for _, key := range keys {
		r.keys[key] = struct{}{}
	}
	r.mu.Unlock()
	signal(r.wake)
}

// take removes and returns some of the keys.
func (r *releasedKeys) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]string, 0, min(len(r.keys), maxReleased))
	for key := range r.keys {
		if len(keys) == maxReleased {
			break
		}
		keys = append(keys, key)
		delete(r.keys, key)
	}
	return keys
}

// restore puts back the keys of an admission that failed, without a signal: the next claim comes after its pause.
func (r *releasedKeys) restore(keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		r.keys[key] = struct{}{}
	}
}

func (r *releasedKeys) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys) > 0
}

const (
	// sqlAdmit admits tasks of queue $1 under its limits of version $2: the next ones of keys $3,
	// and of the keys of up to $6 arrivals above seq $4, and above $5. $7 to $9 are numbers at or
	// below which nothing arrives, waits or has a slot. Where keys take turns, it admits about $10 tasks, less those
	// that are admitted above watermarks $11 already, and $12 is below all turns.
	sqlAdmit = `SELECT arrived, coalesce(top, 0), coalesce(late_top, 0), low_seq, low_slot, wait_keys, waits_us, more,
	low_turn
FROM {schema}.strunk_admit($1::text, $2::bigint, $3::text[], $4::bigint, $5::bigint, $6::integer, $7::bigint,
$8::bigint, $9::bigint, $10::integer, $11::bigint[], $12::bigint)`
	// sqlAdmitReleased admits the next tasks of keys $2 of queue $1.
	sqlAdmitReleased = `SELECT {schema}.strunk_admit_released($1::text, $2::text[])`
	// maxArrivals bounds the arrivals that one admission looks at.
	maxArrivals = 1000
)

// round is one admission. It goes out with a claim, in one transaction; nil for none.
type round struct {
	limits *limiter
	keys   []string
	late   *int64
	want   int     // how many tasks the claim may take
	marks  []int64 // the watermarks at which it enters
	began  time.Time

	arrived, top, lateTop    int64
	lowSeq, lowSlot, lowTurn int64
	turns                    bool // keys with turns are left
	waitKeys                 []string
	waits                    []int64
}

// beginRound returns the admission that goes out with the next claim, which is of up to want tasks and enters at these
// watermarks; nil where the queue has no customer keys.
func (l *limiter) beginRound(want int, marks []int64, now time.Time) *round {
	a := &l.admission
	if !a.keyed && !l.inForce().keyed() {
		return nil
	}
	a.keyed = true
	return &round{limits: l, keys: a.released.take(), late: a.arrivals.enter(now), want: want, marks: marks,
		began: now}
}

func (r *round) statement() core.Statement {
	l, a := r.limits, &r.limits.admission
	return core.Statement{SQL: l.rt.SQL(sqlAdmit),
		Args: []any{l.queue, l.sentVersion(), r.keys, a.arrivals.top, r.late, maxArrivals, a.arrivals.settled,
			a.lowSeq, a.lowSlot, r.want, r.marks, a.lowTurn},
		Scan: func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&r.arrived, &r.top, &r.lateTop, &r.lowSeq, &r.lowSlot, &r.waitKeys,
				&r.waits, &r.turns, &r.lowTurn},
				func() error { return nil })
			return err
		}}
}

// endRound records what came of a claim and of the admission that went out with it, nil for none.
// It reports whether there is more to admit.
func (l *limiter) endRound(r *round, answer claimed, err error) (more bool) {
	a := &l.admission
	switch {
	case r == nil:
		a.keyed = a.keyed || (err == nil && answer.backlog)
		return a.keyed
	case err != nil:
		a.released.restore(r.keys)
		return false
	}
	now := time.Now()
	a.arrivals.looked(r.late, r.top, r.lateTop, r.began, now)
	a.arrivals.ended(answer.xid, answer.xmin)
	a.lowSeq, a.lowSlot, a.lowTurn = r.lowSeq, r.lowSlot, r.lowTurn
	for i, key := range r.waitKeys {
		a.waits.add(key, now.Add(time.Duration(r.waits[i])*time.Microsecond))
	}
	return r.arrived == maxArrivals || r.turns
}

// looked is a seq up to which what waits has been looked at.
func (l *limiter) looked() int64 { return l.admission.arrivals.top }

// unknownVersion is the version of no limits: what was known under it is forgotten.
const unknownVersion = -1

// obeyVersion forgets what was known under other limits.
func (a *admission) obeyVersion(version int64) {
	if a.version != version {
		a.version, a.arrivals, a.waits, a.lowSeq, a.lowSlot, a.lowTurn = version, arrivals{}, keyWaits{}, 0, 0, 0
		a.sweep.restart()
	}
}

// background sends a statement whose effect a sweep makes up for: its commit need not be synchronous.
func (l *limiter) background(ctx context.Context, statement core.Statement) error {
	sent, cancel := core.Outlasting(ctx, l.end, claimTimeout)
	defer cancel()
	conn, err := l.rt.Pool().Acquire(sent)
	if err != nil {
		return err
	}
	defer conn.Release()
	return core.RetryConflicts(sent, func() error {
		return core.OneMessage(sent, conn.Conn(), core.Statement{SQL: sqlAsync}, statement)
	})
}

// leave admits the next tasks of the keys that were released here last, before the session goes,
// and wakes others for them.
func (l *limiter) leave() {
	released := &l.admission.released
	for !isClosed(l.lease.Lost()) && released.any() {
		err := l.background(l.end, core.Statement{SQL: l.rt.SQL(sqlAdmitReleased),
			Args: []any{l.queue, released.take()}})
		if err != nil {
			l.warn("admitting the next tasks of keys failed; another worker's sweep does it", err)
			return
		}
		l.rt.Wake(core.TopicQueue(l.queue))
	}
}
