package events_test

import (
	"context"
	"testing"

	"github.com/strunk-go/strunk/outbox"
)

func TestPublishRelaySubscribe(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var got record
	b.publish(order{ID: "a", N: 1}, order{ID: "b", N: 1}, order{ID: "a", N: 2})
	b.run(orders.Subscriber("one", got.handle))
	got.await(t, 3)
	b.publish(order{ID: "a", N: 3})
	b.in(func(tx *outbox.OwnedTx) error { _, err := orders.Delete(context.Background(), tx, "b"); return err })
	all := got.await(t, 5)
	got.inOrder(t)
	for i, e := range all {
		if e.Position != int64(i+1) && e.EntityID == "a" && e.State.N != int(e.Version) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	b.reachHead("one")
	t.Logf("%+v", b.stats("one"))
}
