package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/events/kafka"
)

const benchEvents = 50_000

// BenchmarkForward reports how many events/s the relay moves into the feed; how many of them a forwarder then sends to
// kfake, from an empty cursor to the head, with a client that does not linger and with one that lingers for the
// client's default; and how many records like them a producer sends that has them in its memory.
func BenchmarkForward(b *testing.B) {
	for b.Loop() {
		bed := newBed(b)
		for i := 0; i < benchEvents; i += 1000 {
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
		report(b, "relayed", began)
		stop()
		c := cluster(b)
		bed.forwardAll(b, c, "lingering")
		bed.forwardAll(b, c, "forwarded", kgo.ProducerLinger(0))
		produceAll(b, c, read(b, c, "forwarded", 1)[0])
	}
}

func report(b *testing.B, what string, began time.Time) {
	b.ReportMetric(benchEvents/time.Since(began).Seconds(), what+"/s")
}

// forwardAll forwards all events to a topic of the name.
func (bed *bed) forwardAll(b *testing.B, c *kfake.Cluster, name string, opts ...kgo.Opt) {
	began := time.Now()
	stop := bed.run(kafka.Forward(orders, client(b, c, opts...), kafka.Config{Topic: name, Name: name,
		Create: &kafka.Topic{Partitions: 4}}))
	eventually(b, "all have been sent", func() bool {
		var cursor int
		err := bed.pool.QueryRow(context.Background(), `SELECT cursor FROM public.strunk_subscribers
			WHERE name = $1`, name).Scan(&cursor)
		return err == nil && cursor >= benchEvents
	})
	report(b, name, began)
	stop()
}

// produceAll produces records like the given one, as many of them under way at once as a forwarder has.
func produceAll(b *testing.B, c *kfake.Cluster, like *kgo.Record) {
	copies := make([]*kgo.Record, benchEvents)
	for i := range copies {
		copies[i] = &kgo.Record{Topic: like.Topic, Key: fmt.Append(nil, "e", i%5000), Value: like.Value,
			Headers: like.Headers}
	}
	producer := client(b, c, kgo.ProducerLinger(0))
	began := time.Now()
	for i := 0; i < benchEvents; i += forward.DefaultInFlight {
		batch := copies[i:min(i+forward.DefaultInFlight, benchEvents)]
		if err := producer.ProduceSync(context.Background(), batch...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "produced", began)
}
