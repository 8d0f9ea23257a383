//go:build unix

package jetstream_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/forward"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/outbox"
)

// BenchmarkForward measures the relay, a forwarder to a sink that does nothing, one to JetStream, and a publisher that
// has the same messages in its memory, in alternation: events/s, the forwarder's part of the relay's, and how much time
// of a processor this process needs for a forwarded and for a published one, the nats-server in it included.
func BenchmarkForward(b *testing.B) {
	const n = 50_000
	bed, js := newBed(b), natstest.Connect(b, natstest.Start(b).URL())
	round := 0
	took, used := map[string]time.Duration{}, map[string]time.Duration{}
	timed := func(what string, work func() (stop func())) {
		began, before := time.Now(), processorTime(b)
		stop := work()
		took[what] += time.Since(began)
		used[what] += processorTime(b) - before
		stop()
	}
	until := func(done func() bool, bindings ...outbox.Binding) func() (stop func()) {
		return func() func() {
			stop := bed.run(bindings...)
			for !done() {
				time.Sleep(5 * time.Millisecond)
			}
			return stop
		}
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
	for b.Loop() {
		round++
		for i := 0; i < n; i += 1000 {
			states := make([]order, 1000)
			for j := range states {
				states[j] = order{ID: fmt.Sprint("e", (i+j)%5000), N: i}
			}
			bed.publish(states...)
		}
		timed("relayed", until(relayed))
		timed("nowhere", until(passed("nowhere"), forward.To(orders, "nowhere", nowhere{})))
		timed("forwarded", until(passed(forwarderName), strunkjs.Forward(orders, js,
			strunkjs.Config{Stream: "ORDERS", Create: create})))
		stream, copies := copiesOf(b, js, "ORDERS", n)
		timed("published", func() func() {
			publishAll(b, js, copies)
			return func() {
				if err := stream.Purge(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for what := range took {
		b.ReportMetric(float64(n*round)/took[what].Seconds(), what+"/s")
	}
	for _, what := range []string{"forwarded", "published"} {
		b.ReportMetric(float64(used[what].Microseconds())/float64(n*round), "cpu-µs/"+what)
	}
	b.ReportMetric(took["relayed"].Seconds()/took["forwarded"].Seconds(), "forwarded/relayed")
}

// nowhere has each message at once. It implements forward.Sink.
type nowhere struct{}

func (nowhere) Check(context.Context, string) error { return nil }

func (nowhere) Send(context.Context, *forward.Message) forward.Ack {
	return func(context.Context) error { return nil }
}

// copiesOf makes n messages like the last one of a stream, each with an id of its own, for another stream.
func copiesOf(b *testing.B, js jetstream.JetStream, from string, n int) (to jetstream.Stream, copies []*nats.Msg) {
	ctx := context.Background()
	stream, err := js.Stream(ctx, from)
	if err != nil {
		b.Fatal(err)
	}
	last, err := stream.GetMsg(ctx, stream.CachedInfo().State.LastSeq)
	if err != nil {
		b.Fatal(err)
	}
	if to, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "COPIES", Subjects: []string{"copies.>"},
		Storage: create.Storage}); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		header := maps.Clone(last.Header)
		header.Set(nats.MsgIdHdr, fmt.Sprint(last.Header.Get(nats.MsgIdHdr), "/", i))
		copies = append(copies, &nats.Msg{Subject: fmt.Sprint("copies.order.e", i%5000), Header: header,
			Data: last.Data})
	}
	return to, copies
}

// publishAll publishes messages as a forwarder does, as many of them under way at once.
func publishAll(b *testing.B, js jetstream.JetStream, all []*nats.Msg) {
	const size = 500
	batches := make(chan []*nats.Msg)
	var lanes sync.WaitGroup
	for range forward.DefaultInFlight / size {
		lanes.Go(func() {
			for batch := range batches {
				for _, future := range publishBatch(b, js, batch) {
					select {
					case <-future.Ok():
					case err := <-future.Err():
						b.Error(err)
					}
				}
			}
		})
	}
	for batch := range slices.Chunk(all, size) {
		batches <- batch
	}
	close(batches)
	lanes.Wait()
}

func publishBatch(b *testing.B, js jetstream.JetStream, batch []*nats.Msg) (under []jetstream.PubAckFuture) {
	for _, msg := range batch {
		future, err := js.PublishMsgAsync(msg, jetstream.WithExpectStream("COPIES"), jetstream.WithRetryAttempts(0))
		if err != nil {
			b.Error(err)
			continue
		}
		under = append(under, future)
	}
	return under
}

// processorTime is what this process has had of the processors.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
