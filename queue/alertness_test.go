package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// A task that was enqueued while the worker was awake, and committed after it fell asleep, begins, although nobody is
// notified of it and the poll interval is far away.
func TestTaskCommittedAfterTheWorkerFellAsleepBegins(t *testing.T) {
	t.Parallel()
	const late = "late"
	b := bedOn(t, outboxtest.New(t), outbox.Config{PollInterval: time.Hour})
	q := queue.Define[note]("alert", queue.Config{})
	begun := make(chan struct{})
	var handled atomic.Int64
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if handled.Add(1); task.Payload.Text == late {
			close(begun)
		}
		return nil
	}))
	awake := func() bool {
		return value[bool](b, `SELECT coalesce(bool_or(awake), false) FROM public.strunk_workers`)
	}
	eventually(t, "the worker wakes up", func() (string, bool) {
		b.exec(`SELECT public.strunk_enqueue('alert', '{"text": "busy"}') FROM generate_series(1, 50)`)
		return "it is asleep", awake()
	})
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT public.strunk_enqueue_many('{alert}', ARRAY['{"text": "late"}'],
		NULL, NULL, NULL, NULL, NULL, NULL, NULL, false)`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker falls asleep", func() (string, bool) { return "it is awake", !awake() })
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, "the late task", begun)
}

// While a queue's workers are awake, a process that commits tasks asks who sleeps once in FirstPause at most.
func TestCommitsSeldomAskWhoSleeps(t *testing.T) {
	t.Parallel()
	asked := &looks{of: "pg_notify"}
	b := bedOn(t, watchedPool(t, outboxtest.New(t), asked), outbox.Config{})
	q := queue.Define[note]("awake", queue.Config{})
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host, awake)
		VALUES (1, 3600000, 1, 1, 'awake', 'here', true)`)
	began := time.Now()
	for range 300 {
		put(b, q, note{})
	}
	n, most := asked.n.Load(), int64(time.Since(began)/core.FirstPause)+2
	if n == 0 || n > most {
		t.Errorf("300 commits have asked %d times in %v; want 1 to %d", n, time.Since(began), most)
	}
}
