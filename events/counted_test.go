package events_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/strunk-go/strunk/events"
)

// After a clean stop the counters of a subscriber say what happened: each event that was handled, each attempt that
// failed, and what was parked or became a dead letter, also by a person's release.
func TestSubscriberCountersAreExact(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	parks, buries := failing{bad: "bad"}, failing{bad: "bad"}
	stop := b.run(orders.Subscriber("parks", parks.handle, events.OnFailure(events.Park), events.MaxAttempts(3),
		events.Retry(atOnce), events.Concurrency(1)),
		orders.Subscriber("buries", buries.handle, events.OnFailure(events.DeadLetter), events.MaxAttempts(2),
			events.Retry(atOnce), events.Concurrency(1)))
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "good", N: 1}, order{ID: "bad", N: 3},
		order{ID: "good", N: 2})
	parks.await(t, 3)
	b.awaitWaiting("parks")
	b.reachHead("parks")
	buries.await(t, 3)
	b.reachHead("buries")
	eventually(t, "both have become dead letters", func() (string, bool) {
		dead := b.dead("buries")
		return fmt.Sprintf("%+v", dead), len(dead) == 2
	})
	noError(t, events.Release(context.Background(), b.box, "parks", "bad"))
	b.awaitWaiting("parks") // the next one
	stop()

	for name, want := range map[string]counters{
		// Two versions of bad fail three times each. The person's release makes the first a dead letter.
		"parks": {handled: 3, failed: 6, parked: 2, dead: 1, waited: 5, ran: 9},
		// Two versions of bad fail twice each.
		"buries": {handled: 3, failed: 4, dead: 2, waited: 5, ran: 7},
	} {
		if got := b.counters(name); got != want {
			t.Errorf("%s: counted %+v; want %+v", name, got, want)
		}
	}
}

// counters are the totals of a subscriber.
type counters struct{ handled, failed, parked, dead, waited, ran int64 }

func (b *bed) counters(name string) (c counters) {
	b.t.Helper()
	noError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT done, failed, parked, dead,
		(SELECT sum(n) FROM unnest(waits) n),
		(SELECT sum(n) FROM unnest(runs) n) FROM public.strunk_count_totals('subscriber') WHERE name = $1
		AND entity_type = 'order'`, name).Scan(&c.handled, &c.failed, &c.parked, &c.dead, &c.waited, &c.ran))
	return c
}
