package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// smallPool is a pool of n connections to the database of a bed.
func smallPool(b *bed, n int) *pgxpool.Pool {
	b.t.Helper()
	pool, err := pgxpool.New(context.Background(), outboxtest.DSN(b.pool)+fmt.Sprintf("&pool_max_conns=%d", n))
	noError(b.t, err)
	return pool
}

// The application of a process has leaked all connections of the pool. Its heartbeats go on, and so
// does everything that the database sees of it, but outcomes and claims do not get through: it loses
// its lease, and a healthy process beside it has the tasks and the quota of the limit.
func TestLeakedPoolLosesLease(t *testing.T) {
	t.Parallel()
	const conns, running = 4, 4
	near := newBed(t)
	pool := smallPool(near, conns)
	t.Cleanup(pool.Close)
	far := bedOn(t, pool, outbox.Config{})
	q := queue.Define[note]("leak", queue.Config{Retry: atOnce, Limits: queue.Limits{Running: running}})
	began, finish := make(chan struct{}, running), make(chan struct{})
	far.run(q.Worker(func(context.Context, queue.Task[note]) error {
		began <- struct{}{}
		<-finish
		return nil
	}, queue.Concurrency(running), queue.VisibilityTimeout(10*time.Second)))
	ids := putMany(near, q, running)
	for range ids {
		receive(t, "a task is handled", began)
	}
	var leaked []*pgxpool.Conn
	for range conns {
		conn, err := pool.Acquire(t.Context())
		noError(t, err)
		leaked = append(leaked, conn)
	}
	t.Cleanup(func() {
		for _, conn := range leaked {
			conn.Release()
		}
	})
	close(finish) // the handlers return nil, and nobody can say so
	ids = append(ids, putMany(near, q, running)...)
	near.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	for _, id := range ids {
		reach(near, q, id, queue.StatusDelivered)
	}
	if log := far.logs.String(); !strings.Contains(log, "does not get through") {
		t.Error("the log does not say that the worker does not get through")
	}
}

// A handler in a transaction that never returns is given up, and the connection of its transaction
// is closed: the next attempts have one, and the pool can be closed.
func TestAbandonedTxHandlerClosesConnection(t *testing.T) {
	t.Parallel()
	const conns = 3
	near := newBed(t)
	pool := smallPool(near, conns)
	far := bedOn(t, pool, outbox.Config{Grace: time.Second})
	q := queue.Define[note]("abandoned", queue.Config{Retry: atOnce, MaxAttempts: conns + 1})
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	id := put(near, q, note{})
	stop := far.run(q.WorkerInTx(func(context.Context, *outbox.OwnedTx, queue.Task[note]) error {
		<-never
		return nil
	}, queue.Concurrency(conns), queue.Timeout(10*time.Millisecond)))
	reach(near, q, id, queue.StatusDead)
	stop()
	if log := far.logs.String(); !strings.Contains(log, `bindings="worker abandoned" handlers=3 max_connections=3`) {
		t.Error("Run does not warn of a pool that has too few connections")
	}
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	receive(t, "the pool is closed", closed)
}
