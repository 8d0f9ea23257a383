package queue

import (
	"slices"
	"time"
)

// levels are the priorities 9 down to 0, in the order of the arrays that strunk_claim takes.
const levels = MaxPriority + 1

// watermarks say where a worker's claims enter the claim index, for each priority. An open snapshot keeps the index
// entries of finished tasks alive. Without watermarks each claim would read all of them.
//
//   - high is the highest seq that this worker has claimed.
//   - low is a seq at or below which no pending task exists or can appear: every transaction that
//     could still commit one has ended, and a look has shown that none is left. Between low and high
//     there may be a task whose transaction drew its seq early and commits late, or one whose lock
//     was skipped and then rolled back.
//
// The low watermark follows the high one in three steps:
//
//  1. The candidate is a copy of the high watermarks at some moment.
//  2. The candidate waits for a claim that was sent after it. The transaction id of that claim is above the id of every
//     transaction that drew a seq up to the candidate, because strunk_enqueue_many draws its transaction id first.
//  3. When pg_snapshot_xmin has passed that id, all those transactions have ended. Then
//     strunk_advance_watermarks looks for
//     tasks that are still pending.
//
// pg_snapshot_xmax cannot replace the id of step 2. It is one above the highest id that has
// completed, and a transaction with a higher id may have drawn its seq long ago.
type watermarks struct {
	high, low, candidate []int64
	candidateXID         int64 // 0 while a claim after the candidate is awaited
	waiting              bool

	recent recentMarks

	sinceLow  int           // claims since one entered at the low watermarks
	usual     time.Duration // of a claim that reads no finished entries, its tasks' time taken off; 0: not known
	every     time.Duration // the recent average from claim to claim
	entered   time.Time     // when the last claim was sent
	full      scanCost      // of claims that enter at the low watermarks
	bottom    scanCost      // of the first claim and of looks, which enter at the bottom
	belowRuns bool          // a look below the low watermarks has been sent and not been answered
	advancing scanCost
}

// scanCost limits how often a scan runs that may read many finished entries: it may use only a small part of the time.
type scanCost struct {
	last time.Time
	cost time.Duration
}

// scanFraction bounds that part: one in scanFraction.
const scanFraction = 20

// allowed reports whether pause has passed since the last scan, and also scanFraction times the time that it took.
func (c *scanCost) allowed(now time.Time, pause time.Duration) bool {
	return now.Sub(c.last) >= max(pause, scanFraction*c.cost)
}

func (c *scanCost) done(began, now time.Time) { c.last, c.cost = now, max(0, now.Sub(began)) }

// taskCost is the time that claiming one task takes, wherever the index was entered.
const taskCost = 30 * time.Microsecond

const (
	// lowInterval is the least time between two claims that enter at the low watermarks, where such
	// a claim is slow. Of the claims of a busy worker at most one in scanFraction does.
	lowInterval = time.Second
	// maxLowInterval is how long the claims of a quiet worker may have to wait for one.
	maxLowInterval = 5 * time.Second
	// bottomInterval is the least time between two looks that enter at the bottom: they find rows that a
	// person has set to pending in place.
	bottomInterval = 30 * time.Second
	// advanceInterval is the least time between two moves of the low watermarks.
	advanceInterval = 50 * time.Millisecond
)

func newWatermarks() *watermarks {
	return &watermarks{high: make([]int64, levels), low: make([]int64, levels)}
}

// entry is where one claim enters the index.
type entry struct {
	first  []int64   // watermarks of the first pass
	second []int64   // watermarks of the second pass, for what the first did not fill; nil for none
	scan   *scanCost // the scan whose cost this claim measures; nil for none
	began  time.Time
}

// enter decides where the next claim enters.
func (m *watermarks) enter(now time.Time) entry {
	pause, recent := m.pause(now), m.recent.at(m.high, now)
	m.sinceLow++
	switch {
	case m.bottom.last.IsZero():
		return entry{first: make([]int64, levels), scan: &m.bottom, began: now}
	case m.sinceLow >= scanFraction && m.full.allowed(now, lowInterval):
		m.sinceLow = 0
		return entry{first: m.low, scan: &m.full, began: now}
	case m.usual > 0 && m.mayScan(now, pause):
		m.sinceLow = 0
		return entry{first: m.high, second: m.low, scan: &m.full, began: now}
	}
	return entry{first: m.high, second: recent, began: now}
}

// mayScan reports whether a claim may enter at the low watermarks for what it has room left for.
func (m *watermarks) mayScan(now time.Time, pause time.Duration) bool {
	return m.full.cost == 0 || m.full.allowed(now, pause) || (m.sinceLow >= scanFraction && m.full.allowed(now, 0))
}

// recentInterval is how far the watermarks are apart in time that recentMarks keeps.
const recentInterval = 100 * time.Millisecond

// recentMarks are where the high watermarks stood one to two recentIntervals ago. Transactions that draw
// their seq early and commit a moment later than others are the rule on a busy queue. A claim that has
// room left looks once more from there, and finds their tasks without waiting for one from the low
// watermarks. It reads the entries of what was finished since then, and no older ones.
type recentMarks struct {
	older, newer []int64
	since        time.Time // when newer was taken
}

// at returns the marks for a claim at a time when the high watermarks are these. Each claim asks. They begin with the
// first task that was claimed: before it they would be at the bottom, and the claims of the next moments would read
// every finished entry.
func (r *recentMarks) at(high []int64, now time.Time) []int64 {
	if slices.Max(high) == 0 {
		return high
	}
	if now.Sub(r.since) >= recentInterval {
		r.older, r.newer, r.since = r.newer, slices.Clone(high), now
		if r.older == nil {
			r.older = r.newer
		}
	}
	return r.older
}

// look decides where a look enters the index, and says whether it is from the bottom.
func (m *watermarks) look(now time.Time) (low []int64, fromBottom bool) {
	if m.bottom.allowed(now, bottomInterval) {
		return make([]int64, levels), true
	}
	return m.low, false
}

// belowDue reports whether a busy worker should look below the low watermarks.
func (m *watermarks) belowDue(now time.Time) bool {
	return !m.belowRuns && !m.bottom.last.IsZero() && m.bottom.allowed(now, bottomInterval)
}

func (m *watermarks) belowBegun(now time.Time) { m.belowRuns, m.bottom.last = true, now }

// belowAnswered lowers the low watermarks to where a task is pending, and has the next claim enter there.
func (m *watermarks) belowAnswered(a belowAnswer, now time.Time) {
	m.belowRuns = false
	m.bottom.done(a.began, now)
	for i, low := range a.low {
		if low < a.asked[i] {
			m.low[i] = min(m.low[i], low)
			m.full = scanCost{}
		}
	}
}

// pause is how long a slow scan from the low watermarks must wait: scanFraction times the recent average from claim to
// claim, within bounds.
func (m *watermarks) pause(now time.Time) time.Duration {
	if !m.entered.IsZero() {
		m.every += (now.Sub(m.entered) - m.every) / 8
	}
	m.entered = now
	return min(max(scanFraction*m.every, lowInterval), maxLowInterval)
}

// claimAnswer is what a claim tells the watermarks.
type claimAnswer struct {
	found, limit int
	xid, xmin    int64 // the claim's transaction id, and the oldest one that was running
}

// answered records the jobs of a plain claim.
func (m *watermarks) answered(e entry, jobs []*job, a claimAnswer, now time.Time) {
	m.measure(e, a, now)
	for _, j := range jobs {
		i := MaxPriority - j.priority
		m.high[i] = max(m.high[i], j.seq)
	}
	if !m.waiting && !m.settled() {
		m.candidate = append(m.candidate[:0], m.high...)
		m.candidateXID, m.waiting = 0, true
	}
}

// measure records the time and the transaction id of a claim.
func (m *watermarks) measure(e entry, a claimAnswer, now time.Time) {
	took := max(0, now.Sub(e.began)-time.Duration(a.found)*taskCost)
	scanned := e.scan != nil && (e.second == nil || a.found < a.limit)
	if scanned {
		e.scan.last, e.scan.cost = now, max(0, took-2*m.usual)
	}
	m.learnUsual(took, scanned)
	if m.waiting && m.candidateXID == 0 {
		m.candidateXID = a.xid
	}
}

// learnUsual records the time of a claim. A claim that may have read finished entries never raises the usual time:
// otherwise the usual time would grow with them, and no scan would ever count as slow.
func (m *watermarks) learnUsual(took time.Duration, scanned bool) {
	switch {
	case took == 0: // its tasks took less than taskCost each, and hide the rest
	case scanned:
		m.usual = min(took, m.usual)
	case m.usual == 0:
		m.usual = took
	default:
		m.usual = min(took, m.usual+m.usual/16) // it may rise again with the load of the machine
	}
}

// settled reports whether the low watermarks have reached the high ones.
func (m *watermarks) settled() bool {
	for i, low := range m.low {
		if low < m.high[i] {
			return false
		}
	}
	return true
}

// ripe reports whether the candidate may be looked at, given the oldest transaction still running.
func (m *watermarks) ripe(xmin int64, now time.Time) bool {
	return m.waiting && m.candidateXID != 0 && xmin > m.candidateXID && m.advancing.allowed(now, advanceInterval)
}

// advanced records what strunk_advance_watermarks returned.
func (m *watermarks) advanced(low []int64, began, now time.Time) {
	m.low, m.waiting = low, false
	for i, seq := range low {
		m.high[i] = max(m.high[i], seq)
	}
	m.advancing.done(began, now)
}
