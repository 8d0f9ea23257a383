package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events/kafka"
)

// BenchmarkForward reports how many events/s the relay moves into the feed, and how many of them a
// forwarder then sends to kfake, from an empty cursor to the head.
func BenchmarkForward(b *testing.B) {
	const n = 50_000
	for b.Loop() {
		bed := newBed(b)
		for i := 0; i < n; i += 1000 {
			states := make([]order, 1000)
			for j := range states {
				states[j] = order{ID: fmt.Sprint("e", (i+j)%5000), N: i}
			}
			bed.publish(states...)
		}
		began := time.Now()
		stop := bed.run()
		eventually(b, "the relay has moved all", func() bool {
			var waiting bool
			err := bed.pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM public.strunk_outbox
				WHERE kind = 'event' AND status = 'pending')`).Scan(&waiting)
			return err == nil && !waiting
		})
		b.ReportMetric(n/time.Since(began).Seconds(), "relayed/s")
		stop()
		began = time.Now()
		stop = bed.run(kafka.Forward(orders, client(b, cluster(b)), kafka.Config{Topic: "orders", Name: "bench",
			Create: &kafka.Topic{Partitions: 4}}))
		eventually(b, "all have been sent", func() bool {
			var cursor int
			err := bed.pool.QueryRow(context.Background(), `SELECT cursor FROM public.strunk_subscribers
				WHERE name = 'bench'`).Scan(&cursor)
			return err == nil && cursor >= n
		})
		b.ReportMetric(n/time.Since(began).Seconds(), "forwarded/s")
		stop()
	}
}
