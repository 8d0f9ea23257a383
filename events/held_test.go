package events_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A handler in a transaction that never returns is given up, and the connection of its transaction
// is closed: the next attempts have one, other subscribers go on, and the pool can be closed.
func TestAbandonedSubscriberInTxClosesConnection(t *testing.T) {
	t.Parallel()
	const conns = 2
	near := newBed(t)
	pool, err := pgxpool.New(context.Background(), outboxtest.DSN(near.pool)+fmt.Sprintf("&pool_max_conns=%d", conns))
	if err != nil {
		t.Fatal(err)
	}
	far := bedOn(t, pool, outbox.Config{Grace: time.Second})
	near.publishTo(orders, order{ID: "1"})
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	var calls atomic.Int64
	done := make(chan struct{})
	stop := far.run(orders.SubscriberInTx("stuck",
		func(context.Context, *outbox.OwnedTx, events.Event[order]) error {
			if calls.Add(1) > conns {
				close(done)
				return nil
			}
			<-never
			return nil
		}, events.From(events.FromBeginning), events.Timeout(10*time.Millisecond), events.Retry(atOnce)))
	select {
	case <-done:
	case <-time.After(soon):
		t.Fatal("the handler is not called again after it has held all connections")
	}
	stop()
	if log := far.logs.String(); !strings.Contains(log, `bindings="subscriber stuck" handlers=1 max_connections=2`) {
		t.Error("Run does not warn of a pool that has too few connections")
	}
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(soon):
		t.Fatal("the pool is not closed: a connection is held")
	}
}
