package jetstream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/queue"
	strunkjs "github.com/strunk-go/strunk/queue/jetstream"
)

const benchTasks = 50_000

var benchQueue = queue.Define[email]("bench", queue.Config{})

func nothing(context.Context, queue.Task[email]) error { return nil }

// BenchmarkTasks works the same number of tasks, whose handler does nothing, by a worker of the
// database; has a forwarder carry them to a stream; and has them worked there by 1 and by 4
// processes. Each part is reported in tasks/s. Server, stream and workers share the machine.
func BenchmarkTasks(b *testing.B) {
	for b.Loop() {
		bed := newBed(b)
		fill := func() {
			for range benchTasks / 1000 {
				bed.enqueue(benchQueue, 1000)
			}
		}
		left := func() int { return bed.count("status IN ('pending', 'claimed')") }
		timed := func(unit string, done func() bool, run func(context.Context) error) {
			began := time.Now()
			stop := bed.until(run)
			for !done() {
				time.Sleep(20 * time.Millisecond)
			}
			b.ReportMetric(benchTasks/time.Since(began).Seconds(), unit)
			stop()
		}
		fill()
		timed("database/s", func() bool { return left() == 0 }, func(ctx context.Context) error {
			return bed.box.Run(ctx, benchQueue.Worker(nothing, queue.Concurrency(200)))
		})
		for _, processes := range []int{1, 4} {
			fill()
			timed(fmt.Sprint("forwarded", processes, "/s"), func() bool { return left() == 0 }, forwarding(bed))
			timed(fmt.Sprint("processes", processes, "/s"), func() bool { return bed.inStream() == 0 },
				workers(b, bed, processes))
		}
	}
}

func forwarding(bed *bed) func(context.Context) error {
	return func(ctx context.Context) error {
		return bed.box.Run(ctx, strunkjs.ForwardTasks(benchQueue, bed.js, bed.config()))
	}
}

// workers runs processes that work the stream until the context ends.
func workers(b *testing.B, bed *bed, processes int) func(context.Context) error {
	return func(ctx context.Context) error {
		for range processes {
			child := faults.Spawn(b, "bench worker", bed.atBroker()...)
			defer child.Kill()
		}
		<-ctx.Done()
		return nil
	}
}

func childBenchWorker() {
	must(strunkjs.Worker(benchQueue, childJS(), nothing, childConfig(), queue.Concurrency(200)).Run(
		context.Background()))
}
