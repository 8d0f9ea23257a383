package queue_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// putLarge enqueues n notes of so many bytes that no compression makes small, by SQL: nothing of it is checked here.
func putLarge(b *bed, queue string, n, bytes int) {
	b.t.Helper()
	raw := make([]byte, bytes/2)
	_, _ = rand.Read(raw)
	b.exec(`SELECT public.strunk_enqueue($1, json_build_object('text', $2::text)) FROM generate_series(1, $3::int)`,
		queue, hex.EncodeToString(raw), n)
}

// nothing is a handler.
func nothing(context.Context, queue.Task[note]) error { return nil }

// delivered waits until n tasks of a queue are done.
func (b *bed) delivered(q string, n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d tasks are done", n), func() (string, bool) {
		counts := b.counts(q)
		return fmt.Sprint(counts), counts[queue.StatusDelivered] == n
	})
}

// Over a link that carries far less within a claim's time than what waits, tasks are claimed and done: claims that run
// out of time are halved.
func TestLargeClaimsOverSlowLink(t *testing.T) {
	t.Parallel()
	const n, bytes, rate = 24, 150_000, 1_000_000 // a claim of all takes 3.6 s
	near := newBed(t)
	q := queue.Define[note]("slow", queue.Config{})
	putLarge(near, q.Name(), n, bytes)
	proxy := faults.NewProxy(t, outboxtest.DSN(near.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(near.pool))
	if err != nil {
		t.Fatal(err)
	}
	far := bedOn(t, dial(t, dsn), outbox.Config{})
	proxy.SetRate(rate)
	far.run(q.Worker(nothing, queue.Concurrency(n), queue.ClaimTimeout(2*time.Second)))
	eventually(t, "a claim runs out of time, and is halved", func() (string, bool) {
		return far.logs.String(), strings.Contains(far.logs.String(), "a claim took too long")
	})
	near.delivered("slow", n)
}

// However many tasks a worker may claim, a claim is no larger than a link of some hundred kB/s carries in time, and
// the worker goes on at once with what a claim has left.
func TestClaimsAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	const n, bytes = 40, 300_000
	b := newBed(t)
	q := queue.Define[note]("bytes", queue.Config{})
	putLarge(b, q.Name(), n, bytes)
	// No poll falls within the test.
	b.run(q.Worker(nothing, queue.Concurrency(n), queue.PollInterval(time.Hour)))
	b.delivered("bytes", n)
	largest := value[int64](b, `SELECT max(bytes) FROM (SELECT sum(pg_column_size(payload)) AS bytes
		FROM public.strunk_outbox_delivered_tasks GROUP BY worker_id, claim_no) c`)
	// Of its two passes each may reach the bound with its last task.
	if most := int64(2 * (queue.MaxClaimedBytes + bytes + 100)); largest > most {
		t.Errorf("a claim had %d bytes; want at most %d", largest, most)
	}
}

// A database that takes longer for a full statement of outcomes than a statement may last gets smaller ones.
func TestSlowCompletionsAreHalved(t *testing.T) {
	t.Parallel()
	// Each takes 0.3 s: of the first statement and of the one for all that have gathered meanwhile, one takes longer
	// than five.
	const n = 40
	near := newBed(t)
	near.exec(`CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END'`)
	near.exec(`CREATE TRIGGER slow BEFORE INSERT ON public.strunk_outbox_delivered_tasks FOR EACH ROW
		EXECUTE FUNCTION public.slow()`)
	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(near.pool))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = "5s"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	q := queue.Define[note]("halved", queue.Config{})
	putMany(near, q, n)
	b := bedOn(t, pool, outbox.Config{})
	var begun sync.WaitGroup
	begun.Add(n)
	b.run(q.Worker(func(context.Context, queue.Task[note]) error {
		begun.Done()
		begun.Wait() // all end at once, so that a full statement is written
		return nil
	}, queue.Concurrency(n)))
	eventually(t, "a statement runs out of time, and is halved", func() (string, bool) {
		return b.logs.String(), strings.Contains(b.logs.String(), "writing outcomes took too long")
	})
	near.delivered("halved", n)
}

// A retry of large dead letters is no single transaction.
func TestRetryOfDeadIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	const n, bytes = 24, 400_000
	b := newBed(t)
	q := queue.Define[note]("large dead", queue.Config{})
	putLarge(b, q.Name(), n, bytes)
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead', finished_at = clock_timestamp() WHERE key = 'large dead'`)
	got, err := queue.RetryDead(t.Context(), b.box, outbox.DeadFilter{Queue: "large dead"})
	if err != nil || got != n {
		t.Fatalf("%d were retried, %v; want %d", got, err, n)
	}
	if transactions := value[int](b, `SELECT count(DISTINCT xmin::text) FROM public.strunk_outbox_tasks
		WHERE key = 'large dead'`); transactions < 2 {
		t.Errorf("%d dead letters of %d bytes were retried in one transaction", n, bytes)
	}
}
