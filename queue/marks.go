package queue

import (
	"time"
)

// levels are the priorities 9 down to 0, in the order of the arrays that strunk_claim takes.
const levels = MaxPriority + 1

// marks say where in the claim index a worker's claims enter, for each priority. Behind an entry that is done an open
// snapshot keeps a dead index entry alive; without marks each claim would walk all of them.
//
//   - fast is the highest seq that this worker has claimed.
//   - safe is a seq at or below which no pending task can be or appear: every transaction that could still commit one has
//     ended, and a look has shown that none is left. What is between safe and fast may come from a transaction that drew its
//     seq early and commits late, or from a lock that was skipped and rolled back.
//
// The safe mark follows the fast one in three steps. A candidate, the fast marks at some moment, waits for a claim made
// after it, whose transaction id is therefore above that of every transaction that drew a seq up to the candidate
// (strunk_enqueue_many draws its transaction id first). When pg_snapshot_xmin has passed that id, all of those have ended.
// Then strunk_advance_marks looks for what is still pending. pg_snapshot_xmax will not do in the id's place: it is one
// above the highest id that has *completed*, and a transaction with a higher one may have drawn its seq long ago.
type marks struct {
	fast, safe, candidate []int64
	candidateXID          int64 // 0 while a claim after the candidate is awaited
	waiting               bool

	sinceSafe int           // claims since one entered at the safe marks
	usual     time.Duration // what a claim takes that walks nothing, tasks aside
	every     time.Duration // from claim to claim, of late
	entered   time.Time     // the last one
	full      costly        // claims that enter at the safe marks
	bottom    costly        // claims that enter at the bottom
	advancing costly
}

// costly is a scan that may touch many dead entries, and so must take only a small part of the time.
type costly struct {
	last time.Time
	cost time.Duration
}

// scanShare bounds that part: one in scanShare.
const scanShare = 20

// allowed reports whether at least pause has gone by since the last scan, and scanShare times what that one took.
func (c *costly) allowed(now time.Time, pause time.Duration) bool {
	return now.Sub(c.last) >= max(pause, scanShare*c.cost)
}

func (c *costly) done(began, now time.Time) { c.last, c.cost = now, max(0, now.Sub(began)) }

// taskCost is what claiming one task takes, however the index was entered.
const taskCost = 30 * time.Microsecond

const (
	// safeInterval is how often at most a claim enters at the safe marks although that walks far; of a busy worker's claims,
	// too, at most one in scanShare does. safeLongest is how long a quiet worker's may have to wait for it.
	safeInterval = time.Second
	safeLongest  = 5 * time.Second
	// bottomInterval is how often a claim enters at the bottom: for rows that were set to pending by hand, in place.
	bottomInterval = 30 * time.Second
	// advanceInterval is how often the safe marks are moved at most.
	advanceInterval = 50 * time.Millisecond
)

func newMarks() *marks {
	return &marks{fast: make([]int64, levels), safe: make([]int64, levels)}
}

// entry is where one claim enters.
type entry struct {
	first  []int64 // marks of the first pass
	second []int64 // marks of the second pass, for what the first did not fill; nil for none
	// arrived is a number at or below which no task is to be found that has not been taken into its key's line.
	arrived int64
	scan    *costly // whose cost the claim tells
	began   time.Time
}

func (m *marks) enter(now time.Time) entry {
	pause := m.pause(now)
	m.sinceSafe++
	switch {
	case m.bottom.allowed(now, bottomInterval):
		return entry{first: make([]int64, levels), scan: &m.bottom, began: now}
	case m.sinceSafe >= scanShare && m.full.allowed(now, safeInterval):
		m.sinceSafe = 0
		return entry{first: m.safe, arrived: m.lowest(), scan: &m.full, began: now}
	case m.full.cost == 0 || m.full.allowed(now, pause) || (m.sinceSafe >= scanShare && m.full.allowed(now, 0)):
		m.sinceSafe = 0
		return entry{first: m.fast, second: m.safe, arrived: m.lowest(), scan: &m.full, began: now}
	}
	return entry{first: m.fast, arrived: m.lowest(), began: now}
}

// pause is how long a walk from the safe marks that is costly must wait, so that at the pace of the claims of late it is one
// in scanShare of them, within bounds.
func (m *marks) pause(now time.Time) time.Duration {
	if !m.entered.IsZero() {
		m.every += (now.Sub(m.entered) - m.every) / 8
	}
	m.entered = now
	return min(max(scanShare*m.every, safeInterval), safeLongest)
}

// answered takes in what a claim brought.
func (m *marks) answered(e entry, jobs []*job, limit int, xid, xmin int64, now time.Time) {
	m.cost(e, len(jobs), limit, xid, now)
	for _, j := range jobs {
		i := MaxPriority - j.priority
		m.fast[i] = max(m.fast[i], j.seq)
	}
	if !m.waiting && !m.settled() {
		m.candidate = append(m.candidate[:0], m.fast...)
		m.candidateXID, m.waiting = 0, true
	}
}

// cost takes in what a claim took, and its transaction id.
func (m *marks) cost(e entry, found, limit int, xid int64, now time.Time) {
	took := max(0, now.Sub(e.began)-time.Duration(found)*taskCost)
	if e.scan != nil && (e.second == nil || found < limit) {
		e.scan.last, e.scan.cost = now, max(0, took-2*m.usual)
	}
	if m.usual == 0 {
		m.usual = took
	}
	m.usual = min(took, m.usual+m.usual/16) // it may rise again with the load of the machine
	if m.waiting && m.candidateXID == 0 {
		m.candidateXID = xid
	}
}

// settled reports whether nothing is left between the safe and the fast marks.
func (m *marks) settled() bool {
	for i, safe := range m.safe {
		if safe < m.fast[i] {
			return false
		}
	}
	return true
}

// ripe reports whether the candidate may be looked at, given the oldest transaction still running.
func (m *marks) ripe(xmin int64, now time.Time) bool {
	return m.waiting && m.candidateXID != 0 && xmin > m.candidateXID && m.advancing.allowed(now, advanceInterval)
}

// advanced takes in what strunk_advance_marks returned.
func (m *marks) advanced(safe []int64, began, now time.Time) {
	m.safe, m.waiting = safe, false
	for i, seq := range safe {
		m.fast[i] = max(m.fast[i], seq) // an unused priority, of a queue with lines
	}
	m.advancing.done(began, now)
}
