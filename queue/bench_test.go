package queue_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// benchJob is a payload of a usual size.
type benchJob struct {
	N    int    `json:"n"`
	To   string `json:"to"`
	Body string `json:"body"`
}

var (
	benchQueue = queue.Define[benchJob]("bench", queue.Config{})
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
)

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
	cfg.MaxConns = 20
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

func benchBox(b *testing.B, pool *pgxpool.Pool) *outbox.Box {
	b.Helper()
	box, err := outbox.Open(b.Context(), pool, outbox.Config{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	return box
}

func benchPayload(n int) benchJob { return benchJob{N: n, To: "user@example.com", Body: "welcome"} }

func benchPayloads(n int) []benchJob {
	jobs := make([]benchJob, n)
	for i := range jobs {
		jobs[i] = benchPayload(i)
	}
	return jobs
}

func fill(b *testing.B, box *outbox.Box, n int) {
	b.Helper()
	for done := 0; done < n; done += 5000 {
		err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
			_, err := benchQueue.EnqueueBatch(b.Context(), tx, benchPayloads(min(5000, n-done)))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnqueue enqueues one task in a transaction of its own.
func BenchmarkEnqueue(b *testing.B) {
	box := benchBox(b, benchPool(b))
	b.ResetTimer()
	for b.Loop() {
		err := box.InTx(b.Context(), func(tx *outbox.OwnedTx) error {
			_, err := benchQueue.Enqueue(b.Context(), tx, benchPayload(1))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkEnqueueBatch enqueues 5,000 tasks a transaction.
func BenchmarkEnqueueBatch(b *testing.B) {
	box := benchBox(b, benchPool(b))
	b.ResetTimer()
	for b.Loop() {
		fill(b, box, 5000)
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkWork works 100,000 tasks with a handler that does nothing.
func BenchmarkWork(b *testing.B) { benchWork(b, 100_000, false) }

// BenchmarkWorkUnderSnapshot does the same while a REPEATABLE READ transaction stays open.
func BenchmarkWorkUnderSnapshot(b *testing.B) { benchWork(b, 300_000, true) }

func benchWork(b *testing.B, tasks int, snapshot bool) {
	pool := benchPool(b)
	box := benchBox(b, pool)
	var wal int64
	for b.Loop() {
		b.StopTimer()
		fill(b, box, tasks)
		if snapshot {
			defer openSnapshot(b, pool)()
		}
		before := walPosition(b, pool)
		b.StartTimer()
		drainOf(b, box, benchQueue, tasks)
		wal += walPosition(b, pool) - before
	}
	b.ReportMetric(float64(b.N*tasks)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(wal)/float64(b.N*tasks), "WAL-B/task")
}

// BenchmarkBatchWork works 100,000 tasks by turns with handlers of one task and of a batch that do
// nothing, and reports the ratio. Each has as many tasks at once.
func BenchmarkBatchWork(b *testing.B) {
	const tasks = 100_000
	box := benchBox(b, benchPool(b))
	var plain, batch, keys time.Duration
	timed := func(worker func(box *outbox.Box)) time.Duration {
		b.StopTimer()
		fill(b, box, tasks)
		b.StartTimer()
		began := time.Now()
		worker(box)
		return time.Since(began)
	}
	for b.Loop() {
		plain += timed(func(box *outbox.Box) { drainOf(b, box, benchQueue, tasks) })
		batch += timed(func(box *outbox.Box) { drainBatches(b, box, tasks, "tasks/batch") })
		keys += timed(func(box *outbox.Box) {
			drainBatches(b, box, tasks, "tasks/batch-per-key", queue.BatchPerKey(), hundredKeys)
		})
	}
	rate := func(d time.Duration) float64 { return float64(b.N*tasks) / d.Seconds() }
	b.ReportMetric(rate(plain), "plain-tasks/s")
	b.ReportMetric(rate(batch), "batch-tasks/s")
	b.ReportMetric(rate(batch)/rate(plain), "batch/plain")
	b.ReportMetric(rate(keys)/rate(plain), "per-key/plain")
}

// hundredKeys spreads tasks over as many keys.
var hundredKeys = queue.Middleware{Work: func(ctx context.Context, in *queue.Incoming,
	next func(context.Context) error) error {
	queue.SetKey(in, strconv.FormatInt(in.ID()%100, 10))
	return next(ctx)
}}

// drainBatches is drain for batches of 100.
func drainBatches(b *testing.B, box *outbox.Box, n int, unit string, opts ...queue.WorkerOption) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var done, batches atomic.Int64
	err := box.Run(ctx, benchQueue.BatchWorker(func(_ context.Context, tasks []queue.Task[benchJob]) error {
		batches.Add(1)
		if done.Add(int64(len(tasks))) == int64(n) {
			cancel()
		}
		return nil
	}, append(opts, queue.Concurrency(2))...))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/float64(batches.Load()), unit)
}

func openSnapshot(b *testing.B, pool *pgxpool.Pool) func() {
	b.Helper()
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Exec(b.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM "+
		"public.strunk_workers"); err != nil {
		b.Fatal(err)
	}
	return func() {
		_, _ = conn.Exec(context.Background(), "ROLLBACK")
		conn.Release()
	}
}

func walPosition(b *testing.B, pool *pgxpool.Pool) (at int64) {
	b.Helper()
	if err := pool.QueryRow(b.Context(), "SELECT (pg_current_wal_lsn() - '0/0')::bigint").Scan(&at); err != nil {
		b.Fatal(err)
	}
	return at
}

// BenchmarkLatency enqueues 200 tasks a second and reports the time from the commit to the start of the handler.
func BenchmarkLatency(b *testing.B) {
	box := benchBox(b, benchPool(b))
	ctx, cancel := context.WithCancel(b.Context())
	var committed sync.Map
	var mu sync.Mutex
	var took []time.Duration
	ran := make(chan error, 1)
	go func() {
		ran <- box.Run(ctx, benchQueue.Worker(func(_ context.Context, task queue.Task[benchJob]) error {
			now := time.Now()
			for {
				if at, ok := committed.Load(task.Payload.N); ok {
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
				_, err := benchQueue.Enqueue(ctx, tx, benchPayload(n))
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
