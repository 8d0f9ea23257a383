package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// line is what a session knows of the lines of its queue's keys; see migration 0007. All but ended, which is called when tasks
// end, belongs to the feeder.
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
	walk    costly
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
	sqlClaimLine = `SELECT id, seq, created_at, due_at, timeout_ms, attempts, max_attempts, priority, dedup_key, payload, metadata, at, limit_key, place
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

// lineAnswer is what a claim says beside its tasks.
type lineAnswer struct {
	reached []int64
	more    bool
	putOff  bool
}

// lineStatement is the claim of a queue with limits of keys or rates.
func (s *session) lineStatement(number int64, want int, e entry, keys []string, places []int64, jobs *[]*job, a *lineAnswer) core.Statement {
	l := &s.line
	return core.Statement{SQL: s.rt.SQL(sqlClaimLine),
		Args: []any{s.lease.ID(), number, s.def.name, want, e.first, e.second, s.inForce().version, l.turns, l.lines, e.arrived, keys, places},
		Scan: func(rows pgx.Rows) (err error) {
			*jobs, err = s.scanLine(rows, number, want, a)
			return err
		}}
}

// scanLine reads the tasks, in claim order, and what else the claim says.
func (s *session) scanLine(rows pgx.Rows, number int64, want int, a *lineAnswer) ([]*job, error) {
	slab := make([]job, 0, want+1)
	now := time.Now()
	*a = lineAnswer{reached: make([]int64, levels)}
	s.line.rate = time.Time{}
	for rows.Next() {
		slab = append(slab, job{claim: number, queue: s.def.name, logger: s.rt.Logger(), s: s})
		j := &slab[len(slab)-1]
		var place *int64
		if err := scanJob(rows, j, s.opts.timeout, &place); err != nil {
			return nil, err
		}
		at := now.Add(time.Duration(j.seq) * time.Microsecond)
		switch j.id {
		case lineMark:
			i := MaxPriority - j.priority
			a.reached[i] = max(a.reached[i], j.seq)
		case lineLows:
			s.line.turns, s.line.lines = j.seq, *place
		case lineRate:
			s.line.rate = at
		case lineKeyRate:
			heap.Push(&s.line.waits, wait{j.key, at})
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
	return jobs, rows.Err()
}

// lineEnded tells the feeder of a task that has been written.
func (s *session) lineEnded(j *job) {
	if j.key != "" && s.inForce().keyed() {
		s.line.ended(j.key, j.place)
	}
}

// lookAgain bounds how long the feeder may sleep by what nobody wakes it for.
func (s *session) lookAgain(pause time.Duration) time.Duration {
	limits, now := s.inForce(), time.Now()
	if at := s.line.due(now); !at.IsZero() {
		pause = min(pause, at.Sub(now))
	}
	if r := s.line.rate; r.After(now) {
		pause = min(pause, r.Sub(now))
	}
	if limits.shared {
		pause = min(pause, s.shareInterval())
	}
	if s.line.walking {
		pause = min(pause, max(firstPause, s.line.walk.cost))
	}
	return pause
}

// walkLines calls some of all lines, in turn: for what nobody else calls, because a process died, a limit was raised, or a task
// was removed by hand. A walk begins a poll interval after the last has ended, and leaves a busy worker most of the time. Where no limit
// of keys is in force it walks until it finds none: lines may be left from when there was one.
func (s *session) walkLines(ctx context.Context, idle bool) {
	l, limits, now := &s.line, s.inForce(), time.Now()
	if l.version != limits.version {
		l.version, l.rate, l.waits = limits.version, time.Time{}, nil
		l.walking, l.walked, l.found, l.called, l.walk = true, "", false, false, costly{}
		s.share.last = time.Time{} // nothing more begins under a share of the old limit
	}
	if !l.walking && (limits.keyed() || l.found) && now.Sub(l.round) >= s.poll {
		l.walking, l.walked, l.found, l.called = true, "", false, false
	}
	if !l.walking || (idle && now.Sub(l.walk.last) < l.walk.cost) || (!idle && !l.walk.allowed(now, firstPause)) {
		return
	}
	last, called, err := s.callLines(ctx, l.walked)
	l.walk.done(now, time.Now())
	switch {
	case err != nil:
		s.logError("calling the lines of keys failed", err)
		l.walk.cost = s.poll // the next try
		return
	case last == nil:
		l.walking, l.round = false, time.Now()
		if !limits.keyed() && l.called { // a call takes only some of each line
			l.round = time.Time{}
		}
	default:
		l.walked, l.found = *last, true
	}
	if called > 0 {
		l.called = true
		signal(l.call)
	}
}

func (s *session) callLines(ctx context.Context, after string) (last *string, called int64, err error) {
	err = s.lineMessage(ctx, core.Statement{SQL: s.rt.SQL(sqlCallLines), Args: []any{s.def.name, after, walkedAtOnce},
		Scan: func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&last, &called}, func() error { return nil })
			return err
		}})
	return last, called, err
}

// lineMessage sends a statement whose effect a walk makes up for: its commit need not be synchronous.
func (s *session) lineMessage(ctx context.Context, statement core.Statement) error {
	sent, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	conn, err := s.rt.Pool().Acquire(sent)
	if err != nil {
		return err
	}
	defer conn.Release()
	return core.RetryConflicts(sent, func() error {
		return core.OneMessage(sent, conn.Conn(), core.Statement{SQL: sqlAsync}, statement)
	})
}

// leaveLines calls the lines of what has ended here last, before the session goes, and wakes others for them.
func (s *session) leaveLines() {
	for !s.lost() && s.line.toCall() {
		keys, places := s.line.takeDone()
		err := s.lineMessage(context.Background(), core.Statement{SQL: s.rt.SQL(sqlCallKeys), Args: []any{s.def.name, keys, places}})
		if err != nil {
			s.logError("calling the lines of keys failed; another worker's walk does it", err)
			return
		}
		s.rt.Wake(core.TopicQueue(s.def.name))
	}
}

// lowest is a number at or below which nothing arrives any more that has not been taken in, whatever its priority.
func (m *marks) lowest() int64 {
	low := m.safe[0]
	for _, v := range m.safe {
		low = min(low, v)
	}
	return low
}

// answeredLine takes in what a claim of strunk_claim_line brought: as answered, but the marks are what it has looked at, and
// the candidate is one number for all priorities, drawn by somebody already: the reasoning is the same.
func (m *marks) answeredLine(e entry, reached []int64, found, limit int, xid, xmin int64, now time.Time) {
	m.cost(e, found, limit, xid, now)
	top := int64(0)
	for i, seq := range reached {
		m.fast[i] = max(m.fast[i], seq)
		top = max(top, m.fast[i])
	}
	if !m.waiting && top > m.lowest() {
		m.candidate = m.candidate[:0]
		for range levels {
			m.candidate = append(m.candidate, top)
		}
		m.candidateXID, m.waiting = 0, true
	}
}
