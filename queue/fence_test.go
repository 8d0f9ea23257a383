package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Every statement that writes an outcome changes nothing unless worker, claim number and status are those of the claim.
func TestOutcomesAreFenced(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const worker, claim = 77, 5
	id := value[int64](b, `SELECT public.strunk_enqueue('fence')`)
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES ($1, 60000,
		1, 1, 'fence', 'here')`, worker)
	b.exec(`SELECT id FROM public.strunk_claim($1, $2, 'fence', 1, array_fill(0::bigint, ARRAY[10]),
		NULL)`, worker, claim)
	type token struct {
		name, status  string
		worker, claim int64
	}
	tokens := []token{
		{"another worker", "claimed", worker + 1, claim},
		{"an earlier claim of the worker", "claimed", worker, claim - 1},
		{"a later claim of the worker", "claimed", worker, claim + 1},
		{"a row given back", "pending", worker, claim},
		{"a row that waits for its retry", "scheduled", worker, claim},
	}
	statements := map[string]string{
		"complete": `SELECT count(*) FROM public.strunk_complete($1, ARRAY[$2::bigint],
			ARRAY[$3::bigint], true)`,
		"complete and discard": `SELECT count(*) FROM public.strunk_complete($1, ARRAY[$2::bigint],
			ARRAY[$3::bigint], false)`,
		"complete at its place": `SELECT count(*) FROM public.strunk_complete_at($1, ARRAY[$2::bigint],
			ARRAY[$3::bigint], ARRAY(SELECT ctid FROM public.strunk_outbox_tasks WHERE id = $2), true)`,
		"retry": `SELECT count(*) FROM public.strunk_retry($1, ARRAY[$2::bigint], ARRAY[$3::bigint],
			ARRAY[0::bigint], ARRAY[false], ARRAY['no'], ARRAY[''], 'me')`,
		"dead-letter": `SELECT count(*) FROM public.strunk_end_claimed($1, ARRAY[$2::bigint],
			ARRAY[$3::bigint], 'dead', ARRAY['no'], ARRAY[''], 'me')`,
		"cancel": `SELECT count(*) FROM public.strunk_end_claimed($1, ARRAY[$2::bigint],
			ARRAY[$3::bigint], 'cancelled', ARRAY['no'], ARRAY[''], 'me')`,
	}
	const row = `SELECT json_agg(o)::text FROM public.strunk_outbox o WHERE id = $1`
	for what, sql := range statements {
		for _, tok := range tokens {
			b.exec(`UPDATE public.strunk_outbox_tasks SET status = $2 WHERE id = $1`, id, tok.status)
			before := value[string](b, row, id)
			if n := value[int](b, sql, tok.worker, id, tok.claim); n != 0 || value[string](b, row, id) != before {
				t.Errorf("%s under the token of %s: %d rows, and changed: %v; want nothing", what, tok.name, n,
					value[string](b, row, id) != before)
			}
			b.exec(`UPDATE public.strunk_outbox_tasks SET status = 'claimed' WHERE id = $1`, id)
		}
	}
	// The control: under its own token each of them works.
	for what, sql := range statements {
		again := value[int64](b, `SELECT public.strunk_enqueue('fence')`)
		b.exec(`UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = $2, claim_no = $3 WHERE id
			= $1`, again, worker, claim)
		if n := value[int](b, sql, worker, again, claim); n != 1 {
			t.Errorf("%s under the task's own token: %d rows; want 1", what, n)
		}
	}
}

// A claim that had to wait, and finds a task that came meanwhile, says that it began after the task
// was due, not when it began to wait.
func TestClaimedAtIsNotBeforeTheTaskWasThere(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 60000, 1,
		1, 'late', 'here')`)
	holder, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.Background()) }()
	if _, err := holder.Exec(t.Context(), `SELECT FROM public.strunk_workers WHERE id = 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	claimer, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer claimer.Release()
	pid := claimer.Conn().PgConn().PID()
	claimed := make(chan error, 1)
	go func() {
		_, err := claimer.Exec(t.Context(), `SELECT id FROM public.strunk_claim(1, 1, 'late', 1,
			array_fill(0::bigint, ARRAY[10]), NULL)`)
		claimed <- err
	}()
	eventually(t, "the claim waits for its lease row", func() (string, bool) {
		return "", value[bool](b, `SELECT cardinality(pg_blocking_pids($1)) > 0`, pid)
	})
	id := value[int64](b, `SELECT public.strunk_enqueue('late')`)
	if err := errors.Join(holder.Rollback(t.Context()), receive(t, "the claim", claimed)); err != nil {
		t.Fatal(err)
	}
	if !value[bool](b, `SELECT claimed_at >= created_at FROM public.strunk_outbox WHERE id = $1
		AND status = 'claimed'`, id) {
		t.Error("the task was claimed before it was enqueued; want it after")
	}
}

// runOne has a worker run one task, until finish is closed.
func runOne(b *bed, q *queue.Queue[note]) (id int64, finish chan struct{}) {
	b.t.Helper()
	began, finish := make(chan struct{}), make(chan struct{})
	b.run(q.Worker(func(context.Context, queue.Task[note]) error {
		close(began)
		<-finish
		return nil
	}, queue.VisibilityTimeout(30*time.Second)))
	id = put(b, q, note{})
	receive(b.t, "the handler runs", began)
	return id, finish
}

// A task whose lease was lost while its handler ran, and whose handler ends before the heartbeat tells, is refused and
// logged as such.
func TestRefusedOutcomeSaysWhy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("refused", queue.Config{})
	id, finish := runOne(b, q)
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead', finished_at = now() WHERE id = $1`, id)
	close(finish)
	eventually(t, "the refusal is logged", func() (string, bool) {
		s := b.logs.String()
		return s, strings.Contains(s, queue.ErrLeaseLost.Error()) && strings.Contains(s, fmt.Sprintf("task=%d", id))
	})
	if rec := get(b, q, id); rec.Status != queue.StatusDead {
		t.Errorf("the task is %s; want where it was put", rec.Status)
	}
}

// A task whose row a person has changed while it runs, so that it has moved within the table, is
// completed all the same: it is looked for a second time, by its id.
func TestMovedTaskIsCompleted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("moved", queue.Config{})
	id, finish := runOne(b, q)
	const place = `SELECT ctid::text FROM public.strunk_outbox_tasks WHERE id = $1`
	before := value[string](b, place, id)
	b.exec(`UPDATE public.strunk_outbox SET priority = 1 WHERE id = $1`, id)
	if value[string](b, place, id) == before {
		t.Error("the row has not moved: the test shows nothing")
	}
	close(finish)
	eventually(t, "its outcome is written", func() (string, bool) {
		s := get(b, q, id).Status
		return string(s), s != queue.StatusClaimed || strings.Contains(b.logs.String(), queue.ErrLeaseLost.Error())
	})
	if rec := get(b, q, id); rec.Status != queue.StatusDelivered {
		t.Errorf("the task is %s; want delivered", rec.Status)
	}
}

// A heartbeat that gets no answer is given up, and the next goes over a new connection before the lease is over.
func TestSilentConnectionCostsNoLease(t *testing.T) {
	t.Parallel()
	const lease = 12 * time.Second // long against the pauses of a busy machine
	b := newBed(t)
	b.run() // a rescue that watches
	proxy := faults.NewProxy(t, outboxtest.DSN(b.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(b.pool))
	if err != nil {
		t.Fatal(err)
	}
	far := bedOn(t, dial(t, dsn), outbox.Config{})
	q := queue.Define[note]("silent", queue.Config{})
	began, finish := make(chan int64, 10), make(chan struct{})
	far.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		began <- task.ID
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, queue.VisibilityTimeout(lease)))
	id := put(b, q, note{})
	receive(t, "the handler runs", began)
	trap := proxy.Set("strunk_heartbeat(", faults.HoldAnswer)
	receive(t, "a heartbeat goes unanswered", trap.Sprung())
	at := value[int64](b, `SELECT coalesce(max(heartbeat), -1) FROM public.strunk_workers`)
	eventually(t, "heartbeats of more than a lease", func() (string, bool) {
		n := value[int64](b, `SELECT coalesce(max(heartbeat), -1) FROM public.strunk_workers`)
		return fmt.Sprint(n), n > at+8 || n < at
	})
	close(finish)
	if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 1 {
		t.Errorf("attempt %d (%+v); want 1, the worker lived", rec.Attempt, rec.Attempts)
	}
	trap.Release()
}

// Everything that a task can go through, in a schema of another name.
func TestConfiguredSchema(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"app", "My App-1; größe.x"} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.Empty(t)
			if err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{Schema: schema}); err != nil {
				t.Fatal(err)
			}
			b := bedOn(t, pool, outbox.Config{Schema: schema})
			q := queue.Define[note]("schema", queue.Config{MaxAttempts: 2,
				Retry: queue.Backoff{First: 20 * time.Millisecond}})
			once := put(b, q, note{"fails once"}, queue.Delay(30*time.Millisecond), queue.DedupKey("k"))
			b.in(func(tx *outbox.OwnedTx) error {
				done, err := q.Enqueue(t.Context(), b.box.Tx(tx.Pgx()), note{"again"}, queue.DedupKey("k"))
				if err != nil || done.ID != once || !done.Duplicate {
					t.Errorf("%+v, %v; want a duplicate of %d", done, err, once)
				}
				return err
			})
			handled := make(chan queue.Task[note], 10)
			b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
				if task.Payload.Text == "dies" || task.Attempt == 1 {
					return errors.New("no")
				}
				handled <- task
				return nil
			}))
			dies := put(b, q, note{"dies"})
			reach(b, q, once, queue.StatusDelivered)
			reach(b, q, dies, queue.StatusDead)
			if task := receive(t, "the retry", handled); task.ID != once {
				t.Errorf("task %d was handled; want %d", task.ID, once)
			}
			assertOnlyIn(t, pool, schema)
		})
	}
}

func assertOnlyIn(t *testing.T, pool *pgxpool.Pool, schema string) {
	t.Helper()
	var elsewhere int
	err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname LIKE 'strunk\_%' AND n.nspname <> $1`, schema).Scan(&elsewhere)
	if err != nil || elsewhere != 0 {
		t.Errorf("%d of strunk's relations outside schema %q (%v)", elsewhere, schema, err)
	}
}
