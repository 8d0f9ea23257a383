package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// BenchmarkLimits works 100,000 tasks of 10,000 keys with a handler that does nothing, under each
// kind of limit, so that the figures of one run tell what a limit costs. The plain queue comes
// first and last.
func BenchmarkLimits(b *testing.B) {
	const tasks, keys = 100_000, 10_000
	unlimited := queue.Rate{Count: 1_000_000, Per: time.Second, Burst: 1_000_000}
	for _, c := range []struct {
		name   string
		limits queue.Limits
	}{
		{"plain", queue.Limits{}},
		{"running", queue.Limits{Running: 200}},
		{"rate", queue.Limits{Rate: unlimited}},
		{"running-per-key", queue.Limits{RunningPerKey: 5}},
		{"rate-per-key", queue.Limits{RatePerKey: unlimited}},
		{"fifo", queue.Limits{FIFO: true}},
		{"fair", queue.Limits{Fair: true}},
		{"plain-again", queue.Limits{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			pool := benchPool(b)
			box := benchBox(b, pool)
			q := queue.Define[benchJob]("limited", queue.Config{Limits: c.limits})
			for b.Loop() {
				b.StopTimer()
				for from := 0; from < tasks; from += 5000 {
					fillKeys(b, box, q, from, 5000, keys)
				}
				b.StartTimer()
				drainOf(b, box, q, tasks)
			}
			b.ReportMetric(float64(b.N*tasks)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

func fillKeys(b *testing.B, box *outbox.Box, q *queue.Queue[benchJob], from, n, keys int) {
	b.Helper()
	items := make([]queue.Item, n)
	for i := range items {
		items[i] = q.Item(benchPayload(from+i), queue.CustomerKey(fmt.Sprint("customer-", (from+i)%keys)))
	}
	err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
		_, err := queue.EnqueueAll(b.Context(), tx, items...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// drainOf works a queue until n of its tasks are done.
func drainOf(b *testing.B, box *outbox.Box, q *queue.Queue[benchJob], n int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var done atomic.Int64
	err := box.Run(ctx, q.Worker(func(context.Context, queue.Task[benchJob]) error {
		if done.Add(1) == int64(n) {
			cancel()
		}
		return nil
	}, queue.Concurrency(200)))
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFairness measures how long 200 customers with 10 tasks each wait for a customer with 200,000 that are older,
// in a queue that is first in first out (its tasks have no customer keys) and in a fair one; and how long all of them
// take.
func BenchmarkFairness(b *testing.B) {
	const big, all = 200_000, 202_000
	for _, c := range []struct {
		name   string
		limits queue.Limits
	}{{"first in first out", queue.Limits{}}, {"fair", queue.Limits{Fair: true}}} {
		b.Run(c.name, func(b *testing.B) {
			pool := benchPool(b)
			box := benchBox(b, pool)
			q := queue.Define[benchJob]("fairness", queue.Config{Limits: c.limits})
			for b.Loop() {
				b.StopTimer()
				for from := 0; from < all; from += 2000 {
					fillCustomers(b, box, q, from, big, c.limits.Fair)
				}
				b.StartTimer()
				small, took := drainSmall(b, box, q, big, all)
				b.ReportMetric(small.Seconds(), "s/200-customers")
				b.ReportMetric(took.Seconds(), "s/all")
			}
		})
	}
}

// fillCustomers enqueues 2000 tasks, counted on from from: those below big are of one customer, the others of 200.
func fillCustomers(b *testing.B, box *outbox.Box, q *queue.Queue[benchJob], from, big int, keyed bool) {
	b.Helper()
	items := make([]queue.Item, 2000)
	for i := range items {
		key := "big"
		if from+i >= big {
			key = fmt.Sprint("small-", i%200)
		}
		items[i] = q.Item(benchPayload(from + i))
		if keyed {
			items[i] = q.Item(benchPayload(from+i), queue.CustomerKey(key))
		}
	}
	err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
		_, err := queue.EnqueueAll(b.Context(), tx, items...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// drainSmall works all tasks of a queue. It returns when the last of those from big on was begun, and when all were.
func drainSmall(b *testing.B, box *outbox.Box, q *queue.Queue[benchJob], big, all int) (small, took time.Duration) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	began := time.Now()
	var done, last atomic.Int64
	err := box.Run(ctx, q.Worker(func(_ context.Context, task queue.Task[benchJob]) error {
		if task.Payload.N >= big {
			last.Store(int64(time.Since(began)))
		}
		if done.Add(1) == int64(all) {
			cancel()
		}
		return nil
	}, queue.Concurrency(200)))
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(last.Load()), time.Since(began)
}
