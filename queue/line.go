package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// line is what a session knows of the lines of its queue's keys; see outbox/sql/limits.sql. All but ended, which is called when tasks
// end, belongs to the claimer.
type line struct {
	mu   sync.Mutex
	done map[string]int64 // keys of which tasks have ended, with the lowest place: their lines are to be called
	call chan struct{}    // signalled when there are some

	turns, lines int64 // no task has a turn, or stands in a line, at a lower number
	version      int64 // of the limits that this is about

	waits waits     // keys that wait for their rate
	rate  time.Time // when the queue's rate lets the next task begin; zero: now

	walked  string // the key that the walk over all lines has come to
	walking bool
	found   bool      // whether this walk, or the last, has found a line
	called  bool      // and whether it has called any
	round   time.Time // when the last walk ended
	walk    scanCost
}

// answers of strunk_claim_line that are no tasks, by their id.
const (
	lineMark     = 0
	lineLows     = -1
	lineRate     = -2
	lineKeyRate  = -3
	lineHasMore  = -4
	linePutOff   = -5
	walkedAtOnce = 500
	// calledAtOnce bounds the keys of one claim; the others wait for the next.
	calledAtOnce = 2000
)

const (
	// sqlClaimLine is sqlClaim for a queue with limits of keys or rates: $7 is their version, $8 to $10 numbers below which nothing
	// is left, $11 and $12 the keys to call with their places.
	sqlClaimLine = `SELECT id, seq, created_at, due_at, timeout_ms, attempts, max_attempts, priority, dedup_key, payload, metadata, at, limit_key, possibly_started, place
FROM {schema}.strunk_claim_line($1::bigint, $2::bigint, $3::text, $4::integer, $5::bigint[], $6::bigint[], $7::bigint, $8::bigint, $9::bigint, $10::bigint,
$11::text[], $12::bigint[])`
	// sqlCallLines calls the lines of up to $3 keys of queue $1 behind key $2.
	sqlCallLines = `SELECT last_key, called FROM {schema}.strunk_call_lines($1::text, $2::text, $3::integer)`
	// sqlCallKeys calls the lines of keys $2 of queue $1, which tasks have left at places $3.
	sqlCallKeys = `SELECT {schema}.strunk_call_keys($1::text, $2::text[], $3::bigint[])`
)

// ended says that a task has left its share or turn to its key.
func (l *line) ended(key string, place int64) {
	l.keep(key, place)
	signal(l.call)
}

func (l *line) keep(key string, place int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had, ok := l.done[key]; ok {
		place = min(place, had)
	}
	l.done[key] = place
}

// takeDone returns keys to be called.
func (l *line) takeDone() (keys []string, places []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.done), calledAtOnce)
	keys, places = make([]string, 0, n), make([]int64, 0, n)
	for key, place := range l.done {
		if len(keys) == n {
			break
		}
		keys, places = append(keys, key), append(places, place)
		delete(l.done, key)
	}
	return keys, places
}

// restore takes back keys of a claim that failed; the next claim, after its pause, calls them.
func (l *line) restore(keys []string, places []int64) {
	for i, key := range keys {
		l.keep(key, places[i])
	}
}

func (l *line) toCall() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done) > 0
}

// due moves keys that have waited for their rate to those to be called, and returns when the next has; zero for none.
func (l *line) due(now time.Time) time.Time {
	for len(l.waits) > 0 {
		if l.waits[0].at.After(now) {
			return l.waits[0].at
		}
		l.ended(heap.Pop(&l.waits).(wait).key, 0)
	}
	return time.Time{}
}

// wait is a key that waits for its rate.
type wait struct {
	key string
	at  time.Time
}

// waits is a heap of them, the next first.
type waits []wait

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w waits) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waits) Push(x any)        { *w = append(*w, x.(wait)) }
func (w *waits) Pop() any {
	old := *w
	last := old[len(old)-1]
	*w = old[:len(old)-1]
	return last
}

// scan reads the tasks, in claim order, and what else the claim says.
func (l *limiter) scan(rows pgx.Rows, c *claimer, number int64, limit int, a *limitedClaim) ([]*job, error) {
	slab := make([]job, 0, limit+1)
	now := time.Now()
	a.reached, a.more, a.putOff = make([]int64, levels), false, false
	l.line.rate = time.Time{}
	for rows.Next() {
		slab = append(slab, c.newJob(number))
		j := &slab[len(slab)-1]
		var place *int64
		if err := scanJob(rows, j, c.timeout, &place); err != nil {
			return nil, err
		}
		at := now.Add(time.Duration(j.seq) * time.Microsecond)
		switch j.id {
		case lineMark:
			i := MaxPriority - j.priority
			a.reached[i] = max(a.reached[i], j.seq)
		case lineLows:
			l.line.turns, l.line.lines = j.seq, *place
		case lineRate:
			l.line.rate = at
		case lineKeyRate:
			heap.Push(&l.line.waits, wait{j.key, at})
		case lineHasMore:
			a.more = true
		case linePutOff:
			a.putOff = true
		default:
			j.place = orElse(place, 0)
			continue
		}
		slab = slab[:len(slab)-1]
	}
	jobs := make([]*job, len(slab))
	for i := range slab {
		jobs[i] = &slab[i]
	}
	return inOrder(jobs), rows.Err()
}

// sleep bounds how long the claimer may sleep by what nobody wakes it for.
func (l *limiter) sleep(pause time.Duration) time.Duration {
	limits, now := l.inForce(), time.Now()
	if at := l.line.due(now); !at.IsZero() {
		pause = min(pause, at.Sub(now))
	}
	if r := l.line.rate; r.After(now) {
		pause = min(pause, r.Sub(now))
	}
	if limits.shared {
		pause = min(pause, l.shareInterval())
	}
	if l.line.walking {
		pause = min(pause, max(firstPause, l.line.walk.cost))
	}
	return pause
}

// beforeClaim calls some of all lines, in turn: for what nobody else calls, because a process died, a limit was raised, or a task
// was removed by hand. A walk begins a poll interval after the last has ended, and leaves a busy worker most of the time. Where no limit
// of keys is in force it walks until it finds none: lines may be left from when there was one.
func (l *limiter) beforeClaim(ctx context.Context, idle bool) {
	n, limits, now := &l.line, l.inForce(), time.Now()
	if n.version != limits.version {
		n.version, n.rate, n.waits = limits.version, time.Time{}, nil
		n.walking, n.walked, n.found, n.called, n.walk = true, "", false, false, scanCost{}
		l.share.last = time.Time{} // nothing more begins under a share of the old limit
	}
	if !n.walking && (limits.keyed() || n.found) && now.Sub(n.round) >= l.poll {
		n.walking, n.walked, n.found, n.called = true, "", false, false
	}
	if !n.walking || (idle && now.Sub(n.walk.last) < n.walk.cost) || (!idle && !n.walk.allowed(now, firstPause)) {
		return
	}
	last, called, err := l.callLines(ctx, n.walked)
	n.walk.done(now, time.Now())
	switch {
	case err != nil:
		l.warn("calling the lines of keys failed; trying again", err)
		n.walk.cost = l.poll // the next try
		return
	case last == nil:
		n.walking, n.round = false, time.Now()
		if !limits.keyed() && n.called { // a call takes only some of each line
			n.round = time.Time{}
		}
	default:
		n.walked, n.found = *last, true
	}
	if called > 0 {
		n.called = true
		signal(n.call)
	}
}

func (l *limiter) callLines(ctx context.Context, after string) (last *string, called int64, err error) {
	err = l.lineMessage(ctx, core.Statement{SQL: l.rt.SQL(sqlCallLines), Args: []any{l.queue, after, walkedAtOnce},
		Scan: func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&last, &called}, func() error { return nil })
			return err
		}})
	return last, called, err
}

// lineMessage sends a statement whose effect a walk makes up for: its commit need not be synchronous.
func (l *limiter) lineMessage(ctx context.Context, statement core.Statement) error {
	sent, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
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

// leave calls the lines of what has ended here last, before the session goes, and wakes others for them.
func (l *limiter) leave() {
	for !isClosed(l.lease.Lost()) && l.line.toCall() {
		keys, places := l.line.takeDone()
		err := l.lineMessage(context.Background(), core.Statement{SQL: l.rt.SQL(sqlCallKeys), Args: []any{l.queue, keys, places}})
		if err != nil {
			l.warn("calling the lines of keys failed; another worker's walk does it", err)
			return
		}
		l.rt.Wake(core.TopicQueue(l.queue))
	}
}

// answeredLimited records what a claim of strunk_claim_line brought: as answered, but the watermarks are what it has looked
// at, and the candidate is one number for all priorities, drawn by somebody already: the reasoning is the same.
func (m *watermarks) answeredLimited(e entry, reached []int64, a claimAnswer, now time.Time) {
	m.measure(e, a, now)
	top := int64(0)
	for i, seq := range reached {
		m.high[i] = max(m.high[i], seq)
		top = max(top, m.high[i])
	}
	if !m.waiting && top > m.lowest() {
		m.candidate = m.candidate[:0]
		for range levels {
			m.candidate = append(m.candidate, top)
		}
		m.candidateXID, m.waiting = 0, true
	}
}
