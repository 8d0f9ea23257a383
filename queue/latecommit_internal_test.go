package queue

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A task that a transaction has numbered early and commits late is claimed by the next claim that has room left, also
// where a claim from the low watermarks is too slow to be made.
func TestLateCommitIsClaimedSoon(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool, box := testBox(t)
	s := testSession(t, box, "late")
	knowConnections(t, s, pool)
	never := time.Now().Add(time.Hour)
	s.claimer.marks.bottom.last, s.claimer.marks.full = never, scanCost{last: never, cost: time.Hour}

	enqueue := func(tx pgx.Tx) (id int64) {
		if err := tx.QueryRow(ctx, `SELECT public.strunk_enqueue('late')`).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	begin := func() pgx.Tx {
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx pgx.Tx) {
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(want int64) {
		t.Helper()
		n, err := s.claimer.claim(ctx, 10, maxClaimedBytes)
		if err != nil || n != 1 {
			t.Fatalf("claimed %d tasks, %v; want 1", n, err)
		}
		if j := <-s.buffer.ready; j.id != want {
			t.Errorf("claimed task %d; want %d", j.id, want)
		}
	}
	before := begin()
	earlier := enqueue(before)
	commit(before)
	claim(earlier) // now the marks are not at the bottom
	late, other := begin(), begin()
	first, second := enqueue(late), enqueue(other)
	commit(other)
	claim(second)
	commit(late)
	claim(first)
}

// knowConnections has a session know all connections of a pool, so that none makes it doubt its positions.
func knowConnections(t *testing.T, s *session, pool *pgxpool.Pool) {
	t.Helper()
	var all []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.claimer.connections.newcomer(conn.Conn())
		all = append(all, conn)
	}
	for _, conn := range all {
		conn.Release()
	}
	s.claimer.connections.doubted = false
}

// The entries that a second pass reads are those of the last moments, however long the worker has run.
func TestRecentMarksMoveOn(t *testing.T) {
	var r recentMarks
	now := time.Now()
	for seq := int64(1); seq < 10; seq++ {
		at := r.at([]int64{seq}, now)
		if want := max(seq-1, 1); at[0] != want {
			t.Errorf("%d intervals after the start: from %d; want %d", seq, at[0], want)
		}
		if again := r.at([]int64{seq + 100}, now.Add(recentInterval-1)); again[0] != at[0] {
			t.Errorf("the same interval: from %d; want %d", again[0], at[0])
		}
		now = now.Add(recentInterval)
	}
}

// A worker that has begun anew, or over a new connection, reads the finished entries once. The second passes of its
// later claims begin behind what the first one found.
func TestRecentMarksAreNeverAtTheBottom(t *testing.T) {
	m := newWatermarks()
	now := time.Now()
	first := m.enter(now)
	m.answered(first, []*job{{seq: 500}}, claimAnswer{found: 1, limit: 10, xid: 1}, now.Add(time.Second))
	m.full = scanCost{last: now.Add(time.Hour), cost: time.Hour} // a claim from the low watermarks is too slow
	for i := range 10 {
		now = now.Add(recentInterval / 4)
		if e := m.enter(now); e.second[MaxPriority] != 500 {
			t.Errorf("claim %d after the first: its second pass enters at %d; want 500", i+1, e.second[MaxPriority])
		}
	}
}
