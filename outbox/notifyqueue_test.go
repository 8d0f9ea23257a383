package outbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Somebody listens in a transaction that stays open, and the server's queue of notifications fills up: a commit that
// notifies fails then. Those that enqueue and publish do not, in a transaction of ours or of the application.
func TestFullNotifyQueueFailsNoCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	if query[int](t, outboxtest.Empty(t), `SELECT current_setting('server_version_num')::int`) < 170000 {
		t.Skip("before PostgreSQL 17 the queue of notifications holds 8 GiB: left out")
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{"max_notify_queue_pages": "64"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
	release, err := faults.FillNotifyQueue(ctx, server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)

	box := openBox(t, pool, outbox.Config{})
	q := queue.Define[string]("full", queue.Config{})
	for _, own := range []bool{true, false} {
		if err := enqueueAndPublish(t, box, pool, q, own); err != nil {
			t.Errorf("in a transaction of ours (%v): %v", own, err)
		}
	}
}

// enqueueAndPublish commits a worker's queue that may sleep, a task that is due later, and an event.
func enqueueAndPublish(t *testing.T, box *outbox.Box, pool *pgxpool.Pool, q *queue.Queue[string], own bool) error {
	ctx := t.Context()
	mustExec(t, pool, `INSERT INTO public.strunk_workers (id, queue, lease_ms, concurrency, host, pid)
		VALUES (1, 'full', 60000, 1, 'somewhere', 1) ON CONFLICT DO NOTHING`)
	do := func(tx outbox.Tx) error {
		if _, err := q.Enqueue(ctx, tx, "now"); err != nil {
			return err
		}
		if _, err := q.Enqueue(ctx, tx, "later", queue.Delay(1e9)); err != nil {
			return err
		}
		_, err := ticks.Publish(ctx, tx, 1)
		return err
	}
	if own {
		return box.InTx(ctx, func(tx *outbox.OwnedTx) error { return do(tx) })
	}
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return do(box.Tx(tx)) })
}
