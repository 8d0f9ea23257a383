package queue

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A connection that a worker has not claimed over before may lead to a server that has taken the place of the last, and
// is behind it. There what the worker remembers would hide the older task of a key, and the younger would begin first.
func TestNewConnectionHidesNoTask(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool, box := testBox(t)
	if _, err := pool.Exec(ctx, `SELECT public.strunk_set_limits('moved', fifo => true)`); err != nil {
		t.Fatal(err)
	}
	s := testSession(t, box, "moved")
	c := s.claimer
	var ids [2]int64
	for i := range ids {
		err := pool.QueryRow(ctx, `SELECT public.strunk_enqueue('moved', customer_key => 'k')`).Scan(&ids[i])
		if err != nil {
			t.Fatal(err)
		}
	}
	// as after claims on another server, on which the first task has ended
	other, err := pgx.Connect(ctx, outboxtest.DSN(pool))
	if err != nil {
		t.Fatal(err)
	}
	c.connections.newcomer(other)
	if err := other.Close(ctx); err != nil {
		t.Fatal(err)
	}
	c.limits.obeyVersion()
	a := &c.limits.admission
	a.keyed, a.lowSeq, a.lowSlot, a.arrivals.settled = true, ids[0], ids[0], ids[0]
	for range 3 {
		if !c.prepare(ctx, false, true) {
			t.Fatal("the claimer has ended")
		}
		if _, _, err := c.round(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case j := <-s.buffer.ready:
		if j.id != ids[0] {
			t.Errorf("task %d began first; want %d", j.id, ids[0])
		}
	default:
		t.Error("no task may begin")
	}
}
