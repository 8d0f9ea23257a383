package queue

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/strunk-go/strunk/internal/core"
)

// modelRuntime gives sessions leases that nobody renews and nobody but the model expires.
type modelRuntime struct{ core.Host }

func (r modelRuntime) Control(ctx context.Context, fn func(*pgx.Conn) error) error {
	return r.Pool().AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return fn(conn.Conn()) })
}

var modelWorkers atomic.Int64

func (r modelRuntime) Lease(ctx context.Context, spec core.LeaseSpec, before ...core.Statement) (core.Lease, error) {
	id := modelWorkers.Add(1)
	row := core.Statement{SQL: `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue,
		host) VALUES ($1, 60000, 1, 1, $2, 'model')`, Args: []any{id, spec.Queue}}
	return modelLease(id), r.Control(ctx, func(conn *pgx.Conn) error {
		return core.OneMessage(ctx, conn, append(before, row)...)
	})
}

type modelLease int64

func (l modelLease) ID() int64                     { return int64(l) }
func (l modelLease) Lost() <-chan struct{}         { return nil }
func (l modelLease) Void(int64)                    {}
func (l modelLease) Compare()                      {}
func (l modelLease) Release(context.Context) error { return nil }

// model is a queue with workers that claim by the real session, and whatever else happens to its tasks.
type model struct {
	*rapid.T
	rt      modelRuntime
	def     *definition
	workers []*session
	held    map[int64]*session // by task: who has it
	jobs    map[int64]*job
	open    map[pgx.Tx][]int64 // transactions that have enqueued these tasks, or none and locked some
	added   map[int64]bool     // committed and not handled yet
	handled map[int64]bool
}

func (m *model) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *model) start() *session {
	w := newWorker(m.def, nil, nil)
	life := core.Life{Soft: context.Background(), Hard: context.Background(), End: context.Background()}
	s, err := newSession(w, life, m.rt, time.Second, newClaimSize())
	m.must(err)
	// what a scan from the bottom finds is no merit of the marks
	s.claimer.marks.bottom.last = time.Now().Add(time.Hour)
	return s
}

func (m *model) enqueue(tx pgx.Tx) (ids []int64) {
	for range rapid.IntRange(1, 4).Draw(m.T, "tasks") {
		var id int64
		// In a long run a task is claimed more often than the 12 attempts of the default.
		m.must(tx.QueryRow(context.Background(), `SELECT public.strunk_enqueue($1, priority => $2,
			max_attempts => $3)`, m.def.name, rapid.SampledFrom([]int{0, 0, 5, 9}).Draw(m.T, "priority"),
			MaxAttemptsLimit).Scan(&id))
		ids = append(ids, id)
	}
	return ids
}

func (m *model) begin() pgx.Tx {
	tx, err := m.rt.Pool().Begin(context.Background())
	m.must(err)
	return tx
}

// Enqueue commits at once.
func (m *model) Enqueue(*rapid.T) {
	tx := m.begin()
	ids := m.enqueue(tx)
	m.must(tx.Commit(context.Background()))
	for _, id := range ids {
		m.added[id] = true
	}
}

// EnqueueLate leaves the transaction open: its tasks have their numbers, and appear under those of others later.
func (m *model) EnqueueLate(t *rapid.T) {
	if len(m.open) >= 4 {
		t.Skip("enough are open")
	}
	tx := m.begin()
	m.open[tx] = m.enqueue(tx)
}

// Lock makes claims skip tasks that are pending.
func (m *model) Lock(t *rapid.T) {
	if len(m.open) >= 4 {
		t.Skip("enough are open")
	}
	tx := m.begin()
	_, err := tx.Exec(context.Background(), `SELECT 1 FROM public.strunk_outbox_tasks WHERE key = $1 AND status
		= 'pending'
		ORDER BY seq LIMIT 2 FOR UPDATE SKIP LOCKED`, m.def.name)
	m.must(err)
	m.open[tx] = nil
}

// End commits or rolls back an open transaction.
func (m *model) End(t *rapid.T) {
	if len(m.open) == 0 {
		t.Skip("none is open")
	}
	txs := slices.SortedFunc(maps.Keys(m.open), func(a,
		b pgx.Tx) int {
		return int(a.Conn().PgConn().PID()) - int(b.Conn().PgConn().PID())
	})
	tx := rapid.SampledFrom(txs).Draw(t, "transaction")
	m.end(tx, rapid.Bool().Draw(t, "commit"))
}

func (m *model) end(tx pgx.Tx, commit bool) {
	ids := m.open[tx]
	delete(m.open, tx)
	if !commit {
		m.must(tx.Rollback(context.Background()))
		return
	}
	m.must(tx.Commit(context.Background()))
	for _, id := range ids {
		m.added[id] = true
	}
}

// Claim has a worker claim a few tasks.
func (m *model) Claim(t *rapid.T) {
	m.claim(rapid.SampledFrom(m.workers).Draw(t, "worker"), rapid.IntRange(1, 5).Draw(t, "limit"))
}

func (m *model) claim(s *session, limit int) int {
	// Paces are no part of the model: marks move whenever they may.
	s.claimer.marks.advancing, s.claimer.marks.full = scanCost{}, scanCost{last: time.Now()}
	n, err := s.claimer.claim(context.Background(), limit, maxClaimedBytes)
	m.must(err)
	for range n {
		j := <-s.buffer.ready
		s.buffer.dropped(true)
		if other := m.held[j.id]; other != nil {
			m.Fatalf("task %d is with worker %d and with worker %d", j.id, other.lease.ID(), s.lease.ID())
		}
		if !m.added[j.id] {
			m.Fatalf("task %d was claimed before its commit, or after it was done", j.id)
		}
		m.held[j.id], m.jobs[j.id] = s, j
	}
	return n
}

// Settle has a worker write what became of one of its tasks.
func (m *model) Settle(t *rapid.T) {
	if len(m.held) == 0 {
		t.Skip("none is held")
	}
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.held))).Draw(t, "task")
	m.settle(id, rapid.SampledFrom([]outcome{{kind: outcomeComplete}, {kind: outcomeComplete},
		{kind: outcomeRetry, err: errors.New("no")},
		{kind: outcomeRetry, refund: true}}).Draw(t, "outcome"))
}

func (m *model) settle(id int64, o outcome) {
	s := m.held[id]
	o.job = m.jobs[id]
	s.completer.write([]outcome{o})
	delete(m.held, id)
	if o.kind == outcomeComplete {
		delete(m.added, id)
		m.handled[id] = true
	}
}

// Crash ends a worker; the rescue gives its tasks back, and another begins.
func (m *model) Crash(t *rapid.T) {
	i := rapid.IntRange(0, len(m.workers)-1).Draw(t, "worker")
	s := m.workers[i]
	_, err := m.rt.Pool().Exec(context.Background(), `SELECT public.strunk_expire_lease($1, NULL)`, s.lease.ID())
	m.must(err)
	for range 2 {
		_, err = m.rt.Pool().Exec(context.Background(), `SELECT public.strunk_rescue($1, 1000)`, s.lease.ID())
		m.must(err)
	}
	maps.DeleteFunc(m.held, func(_ int64, holder *session) bool { return holder == s })
	m.workers[i] = m.start()
}

// finish ends what is open; then one worker that has been there all along must find all that is left.
func (m *model) finish(survivor *session) {
	for _, tx := range slices.Collect(maps.Keys(m.open)) {
		m.end(tx, true)
	}
	for _, id := range slices.Sorted(maps.Keys(m.held)) {
		m.settle(id, outcome{kind: outcomeComplete})
	}
	for range 200 {
		if len(m.added) == 0 {
			break
		}
		m.claim(survivor, 5)
		for _, id := range slices.Sorted(maps.Keys(m.held)) {
			m.settle(id, outcome{kind: outcomeComplete})
		}
	}
	if len(m.added) > 0 {
		m.Fatalf("tasks %v are never claimed: high watermarks %v, low watermarks %v",
			slices.Sorted(maps.Keys(m.added)), survivor.claimer.marks.high, survivor.claimer.marks.low)
	}
	var left int
	m.must(m.rt.Pool().QueryRow(context.Background(), `SELECT count(*) FROM public.strunk_outbox WHERE key = $1
		AND status <> 'delivered'`, m.def.name).Scan(&left))
	if left != 0 {
		m.Fatalf("%d tasks are not delivered", left)
	}
}

// Whatever happens between: every committed task is handled, none is with two workers at once, and
// no mark passes a task that commits late or whose lock is rolled back, without the help of a scan
// from the bottom.
func TestWatermarksMissNothing(t *testing.T) {
	t.Parallel()
	_, box := testBox(t)
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("40") // each takes many round trips
	}
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{T: rt, rt: modelRuntime{core.BoxHost(box)},
			def: newDefinition(fmt.Sprintf("model-%d", runs.Add(1)),
				Config{MaxAttempts: MaxAttemptsLimit, Retry: Backoff{}}),
			held: map[int64]*session{}, jobs: map[int64]*job{}, open: map[pgx.Tx][]int64{}, added: map[int64]bool{},
			handled: map[int64]bool{}}
		defer func() {
			for tx := range m.open {
				_ = tx.Rollback(context.Background())
			}
		}()
		m.workers = []*session{m.start(), m.start()}
		survivor := m.start()
		claim := func(t *rapid.T) { m.Claim(t) }
		rt.Repeat(map[string]func(*rapid.T){
			"enqueue": m.Enqueue, "enqueue late": m.EnqueueLate, "lock": m.Lock, "end": m.End, "settle": m.Settle,
			"crash": m.Crash,
			"claim": claim, "claim again": claim,
			"claim by the survivor": func(t *rapid.T) { m.claim(survivor, rapid.IntRange(1, 5).Draw(t, "limit")) },
		})
		m.finish(survivor)
	})
}

// The first claim enters at the bottom. Later ones never do: looks beside them find what was set to pending by hand.
func TestBottomEntry(t *testing.T) {
	m := newWatermarks()
	for i := range m.low {
		m.low[i], m.high[i] = 50, 60
	}
	now := time.Now()
	if e := m.enter(now); e.scan != &m.bottom || slices.Max(e.first) != 0 {
		t.Errorf("the first claim: at the bottom %v, from %v; want true, 0", e.scan == &m.bottom, e.first)
	}
	if m.belowDue(now) {
		t.Error("a look is due before the first claim")
	}
	m.bottom.done(now, now)
	if m.belowDue(now.Add(bottomInterval - 1)) {
		t.Error("a look is due before its time")
	}
	now = now.Add(bottomInterval)
	if e := m.enter(now); e.scan == &m.bottom || slices.Min(e.first) < 50 {
		t.Errorf("a later claim: at the bottom %v, from %v; want false, 50 at least", e.scan == &m.bottom, e.first)
	}
	if !m.belowDue(now) {
		t.Error("no look is due")
	}
	m.belowBegun(now)
	if m.belowDue(now.Add(time.Hour)) {
		t.Error("a look is due while one runs")
	}
	m.belowAnswered(belowAnswer{asked: slices.Clone(m.low), low: slices.Clone(m.low), began: now}, now.Add(time.Minute))
	if m.belowDue(now.Add(scanFraction * time.Minute)) {
		t.Error("looks of a minute may take more than their part of the time")
	}
}

// A busy worker finds what was set to pending below its low watermarks by a look beside the claims, which do not wait
// for it.
func TestTaskBelowIsFoundBesideClaims(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool, box := testBox(t)
	s := testSession(t, box, "below")
	knowConnections(t, s, pool)
	marks := s.claimer.marks
	marks.bottom.last, marks.low[levels-1], marks.high[levels-1] = time.Now(), 1000, 1000
	if _, err := pool.Exec(ctx, `SELECT public.strunk_enqueue('below')`); err != nil {
		t.Fatal(err)
	}
	claim := func(what string, want int) {
		t.Helper()
		if n, err := s.claimer.claim(ctx, 10, maxClaimedBytes); n != want || err != nil {
			t.Fatalf("%s: claimed %d tasks, %v; want %d", what, n, err, want)
		}
	}
	claim("before a look is due", 0)
	marks.bottom.last = time.Now().Add(-time.Hour)
	claim("while the look runs", 0)
	s.claimer.below.running.Wait()
	claim("when the look has found it", 1)
}

// While a transaction that still writes keeps the low watermarks where they are, the claims that enter there read ever
// more finished entries. They may take a twentieth of the time, however slow the first claim was, and however slowly
// they become slower.
func TestSlowScansTakeAPartOfTheTime(t *testing.T) {
	for name, entries := range map[string]struct{ before, each time.Duration }{
		"finished entries before the first claim": {before: 400 * time.Millisecond},
		"finished entries with every claim":       {each: 50 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			m, scanned, now := newWatermarks(), time.Duration(0), time.Now()
			const quick = 2 * time.Millisecond
			began := now
			for i := range 20_000 {
				e, took := m.enter(now), quick
				if m.bottom.last.IsZero() || e.scan == &m.full {
					took += entries.before + time.Duration(i)*entries.each
					scanned += took - quick
				}
				now = now.Add(took)
				m.answered(e, []*job{{seq: int64(i + 1)}}, claimAnswer{found: 1, limit: 10, xid: int64(i + 1)}, now)
				now = now.Add(quick)
			}
			if all := now.Sub(began); scanned > all/10 {
				t.Errorf("claims read finished entries for %v of %v; want a twentieth, a tenth at most", scanned, all)
			}
		})
	}
}
