package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// benchOrder is a state of a usual size.
type benchOrder struct {
	ID     string  `json:"id"`
	N      int     `json:"n"`
	Status string  `json:"status"`
	Total  float64 `json:"total"`
}

var benchOrders = events.Define("order", func(o benchOrder) string { return o.ID }, events.Config{})

// benchPool is a database on a server with fsync on.
func benchPool(b *testing.B) *pgxpool.Pool {
	b.Helper()
	server, err := outboxtest.Start(b.Context(), outboxtest.Durable())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	cfg, err := pgxpool.ParseConfig(server.DSN())
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 30
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if err := outbox.Migrate(b.Context(), pool, outbox.MigrateConfig{}); err != nil {
		b.Fatal(err)
	}
	return pool
}

func benchBox(b *testing.B, pool *pgxpool.Pool, disable ...outbox.Loop) *outbox.Box {
	b.Helper()
	box, err := outbox.Open(b.Context(), pool, outbox.Config{Logger: quiet, Disable: disable})
	if err != nil {
		b.Fatal(err)
	}
	return box
}

func benchState(n int) benchOrder {
	return benchOrder{ID: fmt.Sprintf("order-%d", n), N: n, Status: "confirmed", Total: 59.99}
}

// fill publishes n states of n/10 entities.
func fill(b *testing.B, box *outbox.Box, n int) {
	b.Helper()
	for done := 0; done < n; done += 1000 {
		states := make([]benchOrder, min(1000, n-done))
		for i := range states {
			states[i] = benchState((done + i) % max(n/10, 1000))
		}
		err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
			_, err := benchOrders.PublishBatch(b.Context(), tx, states)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublish publishes one state in a transaction of its own.
func BenchmarkPublish(b *testing.B) {
	box := benchBox(b, benchPool(b))
	n := 0
	for b.Loop() {
		n++
		err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
			_, err := benchOrders.Publish(b.Context(), tx, benchState(n%1000))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPublishBatch publishes 1,000 states of as many entities a transaction.
func BenchmarkPublishBatch(b *testing.B) {
	box := benchBox(b, benchPool(b))
	for b.Loop() {
		fill(b, box, 1000)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRelay moves 200,000 waiting events into the feed.
func BenchmarkRelay(b *testing.B) {
	const n = 200_000
	pool := benchPool(b)
	box := benchBox(b, pool)
	for b.Loop() {
		b.StopTimer()
		fill(b, box, n)
		benchSettle(b, pool)
		b.StartTimer()
		drainRelay(b, pool, box)
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}

// benchSettle has what the filling left behind done before the clock runs.
func benchSettle(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	for _, sql := range []string{`VACUUM ANALYZE public.strunk_outbox_events`, `CHECKPOINT`} {
		if _, err := pool.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
}

func drainRelay(b *testing.B, pool *pgxpool.Pool, box *outbox.Box) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error, 1)
	go func() { ran <- box.Run(ctx) }()
	for left := true; left; time.Sleep(2 * time.Millisecond) {
		if err := pool.QueryRow(b.Context(), `SELECT EXISTS (SELECT 1
			FROM public.strunk_outbox_events)`).Scan(&left); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

// BenchmarkSubscribe has 1, 4 and 16 subscribers read one feed of 100,000 events with a handler that does nothing.
func BenchmarkSubscribe(b *testing.B) {
	for _, subscribers := range []int{1, 2, 4, 16} {
		b.Run(fmt.Sprint(subscribers), func(b *testing.B) {
			const n = 100_000
			pool := benchPool(b)
			box := benchBox(b, pool)
			fill(b, box, n)
			drainRelay(b, pool, box)
			benchSettle(b, pool)
			round := 0
			for b.Loop() {
				round++
				drainFeed(b, box, subscribers, n, round)
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)*n*float64(subscribers)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// drainFeed runs subscribers until each has had n events.
func drainFeed(b *testing.B, box *outbox.Box, subscribers, n, round int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var done atomic.Int64
	var bindings []outbox.Binding
	for i := range subscribers {
		var had atomic.Int64
		bindings = append(bindings, benchOrders.Subscriber(fmt.Sprintf("s%d-%d", round, i),
			func(context.Context, events.Event[benchOrder]) error {
				if had.Add(1) == int64(n) && done.Add(1) == int64(subscribers) {
					cancel()
				}
				return nil
			}))
	}
	if err := box.Run(ctx, bindings...); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLatency publishes 200 events a second and reports the time from the commit to the start of the handler.
func BenchmarkLatency(b *testing.B) {
	box := benchBox(b, benchPool(b))
	ctx, cancel := context.WithCancel(b.Context())
	var committed sync.Map
	var mu sync.Mutex
	var took []time.Duration
	ran := make(chan error, 1)
	go func() {
		ran <- box.Run(ctx, benchOrders.Subscriber("latency",
			func(_ context.Context, e events.Event[benchOrder]) error {
				now := time.Now()
				for {
					if at, ok := committed.Load(e.State.N); ok {
						mu.Lock()
						took = append(took, now.Sub(at.(time.Time)))
						mu.Unlock()
						return nil
					}
					time.Sleep(50 * time.Microsecond)
				}
			}))
	}()
	n := 0
	for b.Loop() {
		for range 200 {
			n++
			err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
				tx.AfterCommit(func() { committed.Store(n, time.Now()) })
				_, err := benchOrders.Publish(ctx, tx, benchState(n))
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
