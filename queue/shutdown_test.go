package queue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// shortGrace is the grace period of tests that wait for its end.
const shortGrace = 50 * time.Millisecond

// stopsInTime starts a Run with shortGrace and stops it. A machine that stalls may cut Run off before the database has
// answered, and what that leaves is given back when the lease is over: then it tries again.
func stopsInTime(t *testing.T, start func() (stop func())) {
	t.Helper()
	eventually(t, "Run ends before it is cut off", func() (string, bool) {
		stop := start()
		began := time.Now()
		stop()
		took := time.Since(began)
		return took.String(), took < shortGrace+time.Second // the last tenth of a second is for the timer
	})
}

// Run ends though the server answers nothing any more and handlers do not return, for workers,
// workers in transactions, batch workers, subscribers and schedules.
func TestShutdownWithFrozenServer(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	proxy := faults.NewProxy(t, outboxtest.DSN(pool))
	farDSN, err := proxy.DSN(outboxtest.DSN(pool))
	if err != nil {
		t.Fatal(err)
	}
	near, far := bedOn(t, pool, outbox.Config{}), bedOn(t, dial(t, farDSN), outbox.Config{Grace: time.Second})
	busy := make(chan string, 10)
	deaf := make(chan struct{}) // a handler that does not hear its context
	t.Cleanup(func() { close(deaf) })
	stuck := queue.Define[note]("stuck", queue.Config{})
	quick := queue.Define[note]("quick", queue.Config{Limits: queue.Limits{Running: 5, RunningPerKey: 1}})
	inTx, batch := queue.Define[note]("tx", queue.Config{}), queue.Define[note]("batch", queue.Config{})
	orders := events.Define("order", func(n note) string { return n.Text }, events.Config{})
	putMany(near, stuck, 1)
	putMany(near, inTx, 1)
	putMany(near, batch, 1)
	near.in(func(tx *outbox.OwnedTx) error {
		_, err := orders.Publish(t.Context(), tx, note{"1"})
		return err
	})
	if _, err := schedule.Register(t.Context(), near.box, "often", quick, note{"x"}, "every 100ms"); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- far.box.Run(ctx, schedule.Runner(),
			stuck.Worker(func(context.Context, queue.Task[note]) error { busy <- "stuck"; <-deaf; return nil },
				queue.VisibilityTimeout(5*time.Second)),
			quick.Worker(func(context.Context, queue.Task[note]) error { return nil }),
			inTx.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, _ queue.Task[note]) error {
				busy <- "tx"
				_, err := tx.Pgx().Exec(ctx, `SELECT pg_sleep(3600)`)
				return err
			}),
			batch.BatchWorker(func(ctx context.Context, _ []queue.Task[note]) error {
				busy <- "batch"
				<-ctx.Done()
				return context.Cause(ctx)
			}),
			orders.Subscriber("index", func(ctx context.Context, _ events.Event[note]) error {
				busy <- "subscriber"
				<-deaf
				return nil
			}))
	}()
	for range 4 {
		receive(t, "all handlers are busy", busy)
	}
	proxy.Freeze()
	time.Sleep(100 * time.Millisecond) // most likely statements are under way
	stop()
	// The server stays silent until Run has returned.
	if err := receive(t, "Run returns", ended); err != nil {
		t.Errorf("Run returned %v; want nil", err)
	}
	proxy.Thaw()

	// What was cut off is done by others when the lease is over.
	near.run(stuck.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	eventually(t, "the task that was left behind is done", func() (string, bool) {
		n := near.counts("stuck")
		return fmt.Sprint(n), n[queue.StatusDelivered] == 1
	})
}
