package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// The statements that operators give; the second is the documented one.
const (
	setDead    = `UPDATE public.strunk_outbox SET status = 'dead' WHERE id = $1`
	setPending = `UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`
)

// TestHandEdits does what operators do at psql, and with two terminals. Nothing stands still after
// it, nothing runs twice at once, and what is refused says why.
func TestHandEdits(t *testing.T) {
	t.Parallel()
	t.Run("of keyed tasks", handEditsOfKeyedTasks)
	t.Run("a dedup key that is being enqueued", handEditBesideEnqueue)
	t.Run("two operators at once", handEditsOfTwoOperators)
	t.Run("two dead letters of one dedup key", handEditsOfOneDedupKey)
	t.Run("an open transaction under HoldDead", handEditInOpenTransaction)
	t.Run("a task that was cancelled while it ran", handEditOfCancelled)
	t.Run("workers deleted", handDeleteOfWorkers)
	t.Run("all tables emptied", handTruncate)
	t.Run("the task can be claimed at once", handEditsAreClaimable)
	t.Run("other columns", handEditsOfOtherColumns)
}

// terminal is a person's session with a transaction of its own.
type terminal struct {
	b  *bed
	tx pgx.Tx
}

func newTerminal(b *bed) *terminal {
	b.t.Helper()
	tx, err := b.pool.Begin(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return &terminal{b, tx}
}

// do runs a statement that must succeed.
func (p *terminal) do(sql string, args ...any) {
	p.b.t.Helper()
	if _, err := p.tx.Exec(context.Background(), sql, args...); err != nil {
		p.b.t.Fatalf("%s: %v", sql, err)
	}
}

func (p *terminal) commit() {
	p.b.t.Helper()
	if err := p.tx.Commit(context.Background()); err != nil {
		p.b.t.Fatal(err)
	}
}

// behind runs a statement of another person, and returns when that waits for this one. Its error
// comes over the channel.
func (p *terminal) behind(sql string, args ...any) <-chan error {
	p.b.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := p.b.pool.Exec(context.Background(), sql, args...)
		ended <- err
	}()
	p.blocks()
	return ended
}

// blocks waits until somebody waits for this person's transaction.
func (p *terminal) blocks() {
	p.b.t.Helper()
	eventually(p.b.t, "another session waits for this one", func() (string, bool) {
		n := value[int](p.b, `SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))`,
			p.tx.Conn().PgConn().PID())
		return fmt.Sprint(n), n > 0
	})
}

// deadLetter enqueues a task and makes a dead letter of it.
func deadLetter(b *bed, q *queue.Queue[note], opts ...queue.EnqueueOption) int64 {
	b.t.Helper()
	id := put(b, q, note{"dead"}, opts...)
	b.exec(setDead, id)
	return id
}

// works runs a worker that does everything, and returns how often it has begun each task.
func works(b *bed, q *queue.Queue[note]) *record {
	r := newRecord()
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		r.begin(fmt.Sprint(task.ID), task.ID)
		defer r.end(fmt.Sprint(task.ID))
		return nil
	}))
	return r
}

// once waits until each task is delivered, and checks that each ran once.
func (r *record) once(b *bed, q *queue.Queue[note], ids ...int64) {
	b.t.Helper()
	for _, id := range ids {
		reach(b, q, id, queue.StatusDelivered)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if n := len(r.order[fmt.Sprint(id)]); n != 1 {
			b.t.Errorf("task %d ran %d times; want once", id, n)
		}
	}
}

func handEditBesideEnqueue(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(pgx.Tx, context.Context) error{
		"committed": pgx.Tx.Commit, "rolled back": pgx.Tx.Rollback,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("hands-dedup", queue.Config{})
			id := deadLetter(b, q, queue.DedupKey("k"))
			program := newTerminal(b)
			program.do(`SELECT public.strunk_enqueue('hands-dedup', '{"text":"new"}', dedup_key => 'k')`)
			person := program.behind(setPending, id)
			if err := end(program.tx, context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := receive(t, "the statement's end", person); err != nil {
				t.Fatalf("the documented statement: %v", err)
			}
			want := "k"
			if name == "committed" {
				want = ""
			}
			if rec := get(b, q, id); rec.DedupKey != want || rec.Status != queue.StatusPending {
				t.Errorf("the task is %s with the key %q; want it pending with %q", rec.Status, rec.DedupKey, want)
			}
			works(b, q).once(b, q, id)
		})
	}
}

// The second of two operators may be refused, which changes nothing and can be repeated.
func handEditsOfTwoOperators(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-two", queue.Config{})
	id, beside := deadLetter(b, q), deadLetter(b, q)
	first := newTerminal(b)
	first.do(setPending, id)
	second := first.behind(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0
		WHERE status = 'dead' AND key = 'hands-two'`)
	first.commit()
	err := receive(t, "the second's end", second)
	if err != nil && core.SQLState(err) != pgerrcode.SerializationFailure {
		t.Errorf("the second of two operators: %v", err)
	}
	if err != nil {
		if rec := get(b, q, beside); rec.Status != queue.StatusDead {
			t.Errorf("a refused statement left another dead letter %s", rec.Status)
		}
		b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0
			WHERE status = 'dead' AND key = 'hands-two'`)
	}
	again := deadLetter(b, q)
	third := newTerminal(b)
	third.do(setPending, again)
	retried := make(chan error, 1)
	go func() {
		n, err := queue.RetryDead(context.Background(), b.box, outbox.DeadFilter{IDs: []int64{again}})
		if err == nil && n != 0 {
			err = fmt.Errorf("%d retried; want none, for it is no dead letter any more", n)
		}
		retried <- err
	}()
	third.blocks()
	third.commit()
	if err := receive(t, "the retry's end", retried); err != nil {
		t.Error(err)
	}
	works(b, q).once(b, q, id, beside, again)
}

func handEditsOfOneDedupKey(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-twins", queue.Config{})
	ids := make([]int64, 4)
	for i := range ids {
		ids[i] = deadLetter(b, q, queue.DedupKey("k"))
	}
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = ANY ($1)`, ids[:2])
	first := newTerminal(b)
	first.do(`DELETE FROM public.strunk_outbox WHERE dedup_key = 'k' AND status = 'pending'`)
	first.do(setPending, ids[2])
	second := first.behind(setPending, ids[3])
	first.commit()
	if err := receive(t, "the second's end", second); err != nil {
		t.Fatal(err)
	}
	keys := value[[]string](b, `SELECT array_agg(coalesce(dedup_key, 'none') ORDER BY id) FROM public.strunk_outbox`)
	if !slices.Equal(keys, []string{"none", "k", "none"}) && !slices.Equal(keys, []string{"k", "none", "none"}) {
		t.Errorf("the keys of the tasks that are left are %v; want one that has the key", keys)
	}
	works(b, q).once(b, q, ids[2:]...)
}

func handEditInOpenTransaction(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-held", queue.Config{Limits: queue.Limits{FIFO: true, HoldDead: true}})
	var broken atomic.Bool
	broken.Store(true)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.CustomerKey == "held" && broken.Load() {
			return fmt.Errorf("no use: %w", queue.ErrPoison)
		}
		return nil
	}))
	first := putKeys(b, q, "held")[0]
	reach(b, q, first, queue.StatusDead)
	second := putKeys(b, q, "held")[0]
	broken.Store(false)
	person := newTerminal(b)
	person.do(setPending, first)
	for _, id := range putKeys(b, q, "a", "b", "a") {
		reach(b, q, id, queue.StatusDelivered)
	}
	if rec := get(b, q, second); rec.Status != queue.StatusPending {
		t.Errorf("the task behind the held dead letter is %s", rec.Status)
	}
	person.commit()
	reach(b, q, first, queue.StatusDelivered)
	reach(b, q, second, queue.StatusDelivered)
}

// A cancellation is over when a person has set the task back.
func handEditOfCancelled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-cancelled", queue.Config{MaxAttempts: 1})
	began := make(chan int, 100)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		began <- task.Attempt
		if task.Payload.Text == "again" {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}))
	for range 5 { // in the time until workers forget a cancellation
		id := put(b, q, note{"runs"})
		receive(t, "it runs", began)
		if _, err := q.Cancel(context.Background(), b.box, id, "a mistake"); err != nil {
			t.Fatal(err)
		}
		reach(b, q, id, queue.StatusCancelled)
		b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0, payload = '{"text":"again"}'
			WHERE id = $1`, id)
		reach(b, q, id, queue.StatusDelivered)
		receive(t, "it runs again", began)
	}
}

func handDeleteOfWorkers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-workers", queue.Config{})
	ids := putMany(b, q, 20)
	var running atomic.Int64
	b.run(q.Worker(func(ctx context.Context, _ queue.Task[note]) error {
		if running.Add(1) > 4 {
			return nil
		}
		<-ctx.Done() // until the loss of the lease is noticed
		return context.Cause(ctx)
	}, queue.Concurrency(4), queue.VisibilityTimeout(5*time.Second)))
	eventually(t, "four run", func() (string, bool) { n := running.Load(); return fmt.Sprint(n), n == 4 })
	b.exec(`DELETE FROM public.strunk_workers`)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.LastError == queue.ErrTimeout.Error() {
			t.Errorf("task %d: %s", id, rec.LastError)
		}
	}
}

func handTruncate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-truncate", queue.Config{Limits: queue.Limits{RunningPerKey: 1}})
	r := works(b, q)
	r.once(b, q, put(b, q, note{"before"}))
	testkit.EventuallyState(t, "all tables are emptied", func() (string, bool) {
		_, err := b.pool.Exec(t.Context(), `DO $$ DECLARE v_table regclass; BEGIN
			FOR v_table IN SELECT c.oid::regclass FROM pg_catalog.pg_class c
				WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
					AND c.relname LIKE 'strunk%' AND c.relname <> 'strunk_migrations'
			LOOP EXECUTE format('TRUNCATE %s', v_table); END LOOP; END $$`)
		return fmt.Sprint(err), err == nil // it may have to wait for others that wait for it, and is repeated
	})
	r.once(b, q, put(b, q, note{"after"}))
	r.once(b, q, putKeys(b, q, "a", "a", "b")...)
	r.once(b, q, put(b, q, note{"later"}, queue.Delay(time.Second)))
}

// Whatever way a task has become pending, the next claim above the watermarks of a worker finds it.
func handEditsAreClaimable(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-pending", queue.Config{})
	other := queue.Define[note]("hands-other", queue.Config{})
	keyed := queue.Define[note]("hands-pending", queue.Config{})
	for _, row := range []struct {
		name, edit string
		make       func() int64
	}{
		{"scheduled, made pending", setPending, func() int64 { return put(b, q, note{"x"}, queue.Delay(time.Hour)) }},
		{"dead", setPending, func() int64 { return deadLetter(b, q) }},
		{"dead, with a customer key that it loses",
			`UPDATE public.strunk_outbox SET status = 'pending', customer_key = NULL WHERE id = $1`,
			func() int64 { return deadLetter(b, keyed, queue.CustomerKey("c")) }},
		{"in a backlog, made a task without a key",
			`UPDATE public.strunk_outbox SET customer_key = NULL WHERE id = $1`,
			func() int64 { return put(b, keyed, note{"x"}, queue.CustomerKey("c")) }},
		{"of another queue", `UPDATE public.strunk_outbox SET key = 'hands-pending' WHERE id = $1`,
			func() int64 { return put(b, other, note{"x"}) }},
		{"of another priority", `UPDATE public.strunk_outbox SET priority = 4 WHERE id = $1`,
			func() int64 { return put(b, q, note{"x"}) }},
		{"delivered, to be done again", setPending, func() int64 {
			id := put(b, q, note{"x"})
			c, err := q.Claim(t.Context(), b.box, 1)
			if err == nil {
				err = errors.Join(c.Complete(t.Context(), id), c.Release(t.Context()))
			}
			if err != nil {
				t.Fatal(err)
			}
			return id
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := row.make()
			newest := value[int64](b, `SELECT last_value FROM public.strunk_outbox_id_seq`)
			b.exec(row.edit, id)
			b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
				VALUES ($1, 30000, 1, 1, 'hands-pending', 'h')`, id)
			got := value[[]int64](b, `SELECT array_agg(id) FROM public.strunk_claim($1, 1, 'hands-pending', 10,
				array_fill($2::bigint, ARRAY[10]), NULL)`, id, newest)
			if !slices.Equal(got, []int64{id}) {
				t.Errorf("a claim above all earlier tasks took %v; want %d", got, id)
			}
		})
	}
}

func handEditsOfOtherColumns(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("hands-columns", queue.Config{})
	later, soonDue, buried := put(b, q, note{"x"}), put(b, q, note{"x"}, queue.Delay(time.Hour)), put(b, q, note{"x"})
	refused := put(b, q, note{"x"})
	b.exec(`UPDATE public.strunk_outbox SET status = 'scheduled' WHERE id = $1`, later)
	b.exec(`UPDATE public.strunk_outbox SET due_at = now() - interval '1 year' WHERE id = $1`, soonDue)
	b.exec(setDead, buried)
	if rec := get(b, q, buried); rec.Status != queue.StatusDead || rec.FinishedAt.IsZero() {
		t.Errorf("a task set to dead is %s since %v; want it to age as other dead letters do", rec.Status,
			rec.FinishedAt)
	}
	endless, odd := put(b, q, note{"x"}), put(b, q, note{"x"})
	b.exec(`UPDATE public.strunk_outbox SET created_at = 'infinity' WHERE id = $1`, endless)
	b.exec(`UPDATE public.strunk_outbox SET metadata = '[]', payload = NULL, max_attempts = -1 WHERE id = $1`, odd)
	_, err := b.pool.Exec(t.Context(), `UPDATE public.strunk_outbox SET status = 'claimed' WHERE id = $1`, refused)
	if err == nil || !strings.Contains(err.Error(), "a task is claimed by a worker alone") {
		t.Errorf("a task set to claimed by hand: %v; want it refused", err)
	}
	if rec := get(b, q, refused); rec.Status != queue.StatusPending {
		t.Errorf("the refused edit left the task %s", rec.Status)
	}
	works(b, q).once(b, q, later, soonDue, refused, endless)
	reach(b, q, odd, queue.StatusDead)
}
