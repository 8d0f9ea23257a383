package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A subscriber whose cursor lies beyond the end of the feed, as after a restore that left out the feed, reads its place
// again less and less often, and goes on once the head is raised.
func TestReloadsAreSpaced(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{Disable: []outbox.Loop{outbox.LoopRelay}})
	b.exec(`INSERT INTO public.strunk_subscribers (cursor, started, epoch, lease_ms, name, entity_type, start,
		server_started) VALUES (1000, 1000, 1, 30000, 'ahead', 'order', 'beginning', pg_postmaster_start_time())`)
	var got record
	began := time.Now()
	b.run(orders.Subscriber("ahead", got.handle, events.PollInterval(testPoll)))
	const reloads = 12
	eventually(t, "it reads its place again", func() (string, bool) {
		epoch := value[int](b, `SELECT epoch FROM public.strunk_subscribers WHERE name = 'ahead'`)
		return fmt.Sprint(epoch), epoch > reloads
	})
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it read its place %d times within %v", reloads, took)
	}
	b.exec(`SELECT public.strunk_ensure_feed_partitions()`)
	relay := bedOn(t, b.pool, outbox.Config{})
	relay.run()
	b.publish(order{ID: "a"})
	if e := got.await(t, 1)[0]; e.Position != 1001 {
		t.Errorf("the next event has position %d; want 1001", e.Position)
	}
}
