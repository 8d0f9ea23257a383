package jetstream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/outbox"
)

// BenchmarkForward has the same feed read by a subscriber that does nothing, and sent to JetStream:
// each reports events/s, from an empty cursor to the head. The relay moves the events first, and is
// reported, too.
func BenchmarkForward(b *testing.B) {
	const n = 50_000
	bed, js := newBed(b), natstest.Connect(b, natstest.Start(b).URL())
	for i := 0; i < n; i += 1000 {
		states := make([]order, 1000)
		for j := range states {
			states[j] = order{ID: fmt.Sprint("e", (i+j)%5000), N: i}
		}
		bed.publish(states...)
	}
	timed := func(unit string, done func() bool, bindings ...outbox.Binding) {
		began := time.Now()
		stop := bed.run(bindings...)
		for !done() {
			time.Sleep(5 * time.Millisecond)
		}
		b.ReportMetric(n/time.Since(began).Seconds(), unit)
		stop()
	}
	passed := func(name string) func() bool {
		return func() bool {
			var cursor int
			err := bed.pool.QueryRow(context.Background(), `SELECT cursor FROM public.strunk_subscribers
				WHERE name = $1`, name).Scan(&cursor)
			return err == nil && cursor >= n
		}
	}
	for b.Loop() {
		timed("relayed/s", func() bool {
			var waiting int
			err := bed.pool.QueryRow(context.Background(), `SELECT count(*) FROM public.strunk_outbox WHERE kind
				= 'event' AND status = 'pending'`).Scan(&waiting)
			return err == nil && waiting == 0
		})
		nothing := func(context.Context, []events.Event[order]) error { return nil }
		timed("subscribed/s", passed("idle"), orders.BatchSubscriber("idle", nothing, events.Concurrency(4),
			events.BatchSize(500)))
		timed("forwarded/s", passed(forwarderName), strunkjs.Forward(orders, js,
			strunkjs.Config{Stream: "ORDERS", Create: create}))
	}
}
