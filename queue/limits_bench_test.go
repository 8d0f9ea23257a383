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
