package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// snapshotBed is a queue that is worked while a REPEATABLE READ transaction stays open, which keeps
// the index entries of all tasks that are done.
type snapshotBed struct {
	*bed
	q       *queue.Queue[note]
	far     *bed // whose statements are explained
	plans   *plans
	claims  []plan // of the worker, in order
	looks   []plan // whether there is something to claim
	gate    sync.RWMutex
	mu      sync.Mutex
	handled map[int64]int
	all     []int64
}

func newSnapshotBed(t *testing.T) *snapshotBed {
	t.Helper()
	// A server of its own: the oldest transaction that is still writing, in whatever database of
	// the server, holds the safe marks back, and those of other tests are no part of this one.
	_, dsn := ownServer(t, pgserver.Config{})
	b := bedOn(t, dial(t, dsn), outbox.Config{})
	pool, collected := explained(t, dsn)
	s := &snapshotBed{bed: b, q: queue.Define[note]("snapshot", queue.Config{}), far: bedOn(t, pool, outbox.Config{}),
		plans: collected, handled: map[int64]int{}}
	b.exec(`ALTER TABLE public.strunk_outbox_tasks SET (autovacuum_enabled = false)`)
	old, err := b.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Rollback(context.Background()) })
	if _, err := old.Exec(t.Context(), `SELECT count(*) FROM public.strunk_outbox`); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *snapshotBed) handle(_ context.Context, task queue.Task[note]) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled[task.ID]++
	return nil
}

func (s *snapshotBed) done() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.handled)
}

// awaitDone waits until all but n of the tasks are handled.
func (s *snapshotBed) awaitDone(but int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("all but %d of %d tasks are handled", but, len(s.all)), func() (string, bool) {
		n := s.done()
		return fmt.Sprint(n), n >= len(s.all)-but
	})
}

// add enqueues n tasks over three priorities.
func (s *snapshotBed) add(n int) {
	s.t.Helper()
	s.in(func(tx *outbox.OwnedTx) error {
		items := make([]queue.Item, n)
		for i := range items {
			items[i] = s.q.Item(note{}, queue.Priority([]int{0, 4, 9}[i%3]))
		}
		done, err := queue.EnqueueAll(context.Background(), tx, items...)
		for _, d := range done {
			s.all = append(s.all, d.ID)
		}
		return err
	})
}

// late enqueues in a transaction that commits much later: when others that drew their numbers after it are long done.
func (s *snapshotBed) late() (commit func()) {
	s.t.Helper()
	tx := begin(s.bed, pgx.ReadCommitted)
	for _, priority := range []int{0, 4, 9} {
		done, err := s.q.Enqueue(s.t.Context(), tx, note{"late"}, queue.Priority(priority))
		if err != nil {
			s.t.Fatal(err)
		}
		s.all = append(s.all, done.ID)
	}
	return func() {
		s.t.Helper()
		if err := tx.Commit(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// locked locks the first few tasks that are pending, so that the claims skip them, and lets go much later.
func (s *snapshotBed) locked() (n int, rollback func()) {
	s.t.Helper()
	tx := begin(s.bed, pgx.ReadCommitted)
	rows, _ := tx.Pgx().Query(s.t.Context(), `SELECT id FROM public.strunk_outbox_tasks WHERE status = 'pending'
		AND key = $1
		ORDER BY seq LIMIT 6 FOR UPDATE SKIP LOCKED`, s.q.Name())
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		s.t.Fatal(err)
	}
	return len(ids), func() { _ = tx.Rollback(context.Background()) }
}

// collect takes in the plans of the claims and looks since the last call.
func (s *snapshotBed) collect() {
	for _, p := range s.plans.take() {
		switch {
		case p.isClaim():
			s.claims = append(s.claims, p)
		case p.isLook():
			s.looks = append(s.looks, p)
		}
	}
}

// pages returns how many pages of the claim index, and of the table behind it, each scan has touched. What a claim
// writes depends on how much it claims, so it is what its scans touch that is compared.
func pages(of []plan) []int {
	var all []int
	for _, p := range of {
		p.Root.walk(func(n *planNode) {
			if n.Index == claimIndex {
				// Each claimed row is read at its place: one page more for each.
				all = append(all, n.Hit+n.Read-int(n.Rows*n.Loops))
			}
		})
	}
	return all
}

// fromBottom returns how many pages are touched where the index is entered at its bottom. No task must be waiting.
func (s *snapshotBed) fromBottom() int {
	s.t.Helper()
	s.collect()
	s.looks = nil
	s.far.exec(`SELECT place FROM public.strunk_queues_with_work(ARRAY[$1::text], array_fill(0::bigint, ARRAY[10]),
		ARRAY[0::bigint])`, s.q.Name())
	s.collect()
	return slices.Max(pages(s.looks)) // beside it the worker may have looked, from further up
}

// untilFlat works blocks of rounds until the claims touch a small part of what is done, and fails where they do not.
//
// What they touch depends on the speed of the machine, now more and now less: low watermarks follow only so often in a
// second, and second passes read what was done in the last moments. But that does not grow with the tasks that are
// done. Where the watermarks fail it does, and remains the same part of them.
func (s *snapshotBed) untilFlat(rounds int, round func(i int)) {
	s.t.Helper()
	const blocks = 5
	for block := range blocks {
		for i := range rounds {
			round(i)
			s.collect()
		}
		s.awaitDone(0)
		s.collect()
		n := len(s.claims)
		touched := pages(s.claims[4*n/5:])
		slices.Sort(touched)
		typical, all := touched[len(touched)*9/10], s.fromBottom()
		s.t.Logf("%d tasks in %d claims; 9 in 10 of the last claims touch at most %d pages of the index, a scan from "+
			"its bottom %d", s.done(), n, typical, all)
		if n >= 60 && typical <= all/3 {
			break
		}
		if block == blocks-1 {
			s.t.Fatalf("%d claims touch up to %d pages of %d; want 60 claims, and a third: they grow with the tasks "+
				"done", n, typical, all)
		}
	}
	s.awaitLow()
	for _, id := range s.all {
		if s.handled[id] != 1 {
			s.t.Errorf("task %d was handled %d times; want once", id, s.handled[id])
		}
	}
}

// awaitLow waits until the low watermarks have followed: a worker that has nothing to claim looks from there. One
// that reads its positions anew looks from the bottom until it has claimed a task.
func (s *snapshotBed) awaitLow() {
	s.t.Helper()
	all, seen := s.fromBottom(), 0
	s.looks = nil
	eventually(s.t, "the worker looks from low watermarks that have followed", func() (string, bool) {
		s.collect()
		if len(s.looks) == 0 {
			return fmt.Sprintf("%d looks", seen), false
		}
		if slices.Min(pages(s.looks)) <= all/3 {
			return "", true
		}
		seen += len(s.looks)
		s.add(3)
		s.awaitDone(0)
		s.collect()
		s.looks = nil
		return fmt.Sprintf("%d looks", seen), false
	})
}

func TestOpenSnapshotDoesNotSlowClaims(t *testing.T) {
	t.Parallel()
	t.Run("a busy queue", func(t *testing.T) {
		t.Parallel()
		s := newSnapshotBed(t)
		const each = 100
		s.add(3 * each)
		s.far.run(s.q.Worker(s.handle, queue.Concurrency(8)))
		s.untilFlat(30, func(int) {
			commit := s.late()
			s.gate.Lock()
			s.add(each)
			held, rollback := s.locked()
			s.gate.Unlock()
			s.add(each)
			s.awaitDone(held + 3)
			commit()
			rollback()
			s.add(each) // the queue does not run dry
		})
	})
	t.Run("a lightly loaded queue", func(t *testing.T) {
		t.Parallel()
		s := newSnapshotBed(t)
		s.add(150)
		s.far.run(s.q.Worker(s.handle, queue.Concurrency(4)))
		s.awaitDone(0)
		s.collect()
		s.claims = nil
		s.untilFlat(450, func(round int) {
			commit, rollback, held := func() {}, func() {}, 0
			if round%20 == 10 {
				commit = s.late()
				s.gate.Lock()
				s.add(60)
				held, rollback = s.locked()
				s.gate.Unlock()
				held += 3
			}
			s.add(3)
			s.awaitDone(held)
			commit()
			rollback()
			s.awaitDone(0)
		})
	})
}
