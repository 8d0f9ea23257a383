//go:build unix

package jetstream_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/outbox"
)

// BenchmarkForward measures the relay, a subscriber that does nothing and a forwarder in alternation, each over the
// same events: from the first that waits to the head. It reports events/s, the forwarder's part of the relay's, and how
// much time of a processor this process needs for a forwarded event, the nats-server in it included.
func BenchmarkForward(b *testing.B) {
	const n = 50_000
	bed, js := newBed(b), natstest.Connect(b, natstest.Start(b).URL())
	round := 0
	spent := map[string]time.Duration{}
	timed := func(what string, done func() bool, bindings ...outbox.Binding) {
		began := time.Now()
		stop := bed.run(bindings...)
		for !done() {
			time.Sleep(5 * time.Millisecond)
		}
		spent[what] += time.Since(began)
		stop()
	}
	passed := func(name string) func() bool {
		return func() bool {
			var cursor int
			err := bed.pool.QueryRow(context.Background(), `SELECT cursor FROM public.strunk_subscribers
				WHERE name = $1`, name).Scan(&cursor)
			return err == nil && cursor >= n*round
		}
	}
	relayed := func() bool {
		var waiting bool
		err := bed.pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM public.strunk_outbox
			WHERE kind = 'event' AND status = 'pending')`).Scan(&waiting)
		return err == nil && !waiting
	}
	nothing := func(context.Context, []events.Event[order]) error { return nil }
	for b.Loop() {
		round++
		for i := 0; i < n; i += 1000 {
			states := make([]order, 1000)
			for j := range states {
				states[j] = order{ID: fmt.Sprint("e", (i+j)%5000), N: i}
			}
			bed.publish(states...)
		}
		timed("relayed", relayed)
		timed("subscribed", passed("idle"), orders.BatchSubscriber("idle", nothing, events.Concurrency(4),
			events.BatchSize(500)))
		before := processorTime(b)
		timed("forwarded", passed(forwarderName), strunkjs.Forward(orders, js,
			strunkjs.Config{Stream: "ORDERS", Create: create}))
		spent["processor"] += processorTime(b) - before
	}
	for what, took := range spent {
		if what != "processor" {
			b.ReportMetric(float64(n*round)/took.Seconds(), what+"/s")
		}
	}
	b.ReportMetric(spent["relayed"].Seconds()/spent["forwarded"].Seconds(), "forwarded/relayed")
	b.ReportMetric(float64(spent["processor"].Microseconds())/float64(n*round), "cpu-µs/forwarded")
}

// processorTime is what this process has had of the processors.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
