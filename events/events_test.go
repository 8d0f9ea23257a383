package events_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func TestPublishRelaySubscribe(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var got record
	b.publish(order{ID: "a", N: 1}, order{ID: "b", N: 1}, order{ID: "a", N: 2})
	b.run(orders.Subscriber("one", got.handle, events.Concurrency(3)))
	got.await(t, 3)
	b.publish(order{ID: "a", N: 3})
	b.in(func(tx *outbox.OwnedTx) error { _, err := orders.Delete(context.Background(), tx, "b"); return err })
	all := got.await(t, 5)
	got.inOrder(t)
	for i, e := range all {
		if e.Position < 1 || e.Position > 5 || e.EntityType != "order" || e.ID == 0 || e.Attempt != 1 {
			t.Errorf("event %d: %+v", i, e)
		}
		if e.Deleted != (e.EntityID == "b" && e.Version == 2) || (!e.Deleted && e.State.N != int(e.Version)) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	b.reachHead("one")
}

// Without LISTEN, as behind a pooler in transaction mode, everything works by polling.
func TestPollOnly(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	publisher := bedOn(t, pool, outbox.Config{PollOnly: true, Disable: []outbox.Loop{outbox.LoopRelay}})
	b := bedOn(t, pool, outbox.Config{PollOnly: true, PollInterval: testPoll})
	var got record
	b.run(orders.Subscriber("polls", got.handle))
	for i := range 5 {
		publisher.publish(order{ID: "a", N: i})
		got.await(t, i+1)
	}
	noError(t, events.Replay(context.Background(), publisher.box, "polls", 3))
	got.await(t, 8)
	if n := value[int](b, `SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database()
		AND query LIKE 'LISTEN%'`); n != 0 {
		t.Errorf("%d connections listen", n)
	}
}

// Several processes' relays share the work: one at a time moves events, and idle ones leave the wake-ups to the others.
func TestRelaysSideBySide(t *testing.T) {
	t.Parallel()
	const n = 300
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("all", got.handle))
	for range 3 {
		other := bedOn(t, b.pool, outbox.Config{})
		other.run()
	}
	for i := range n {
		b.publish(order{ID: fmt.Sprint("e", i%5), N: i})
	}
	got.await(t, n)
	b.reachHead("all")
	got.inOrder(t)
	if head := b.head(); got.len() != n || head != n {
		t.Errorf("%d events arrived, the head is at %d; want %d", got.len(), head, n)
	}
}
