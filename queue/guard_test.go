package queue_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Handlers that commit several times, that do not stop when their lease is lost and that look at no
// error, write nothing after another attempt has begun.
func TestGuard(t *testing.T) {
	t.Parallel()
	t.Run("of all attempts the last one writes last", guardOrdersAttempts)
	t.Run("in three processes that are killed", guardUnderKills)
	t.Run("the transaction cannot be committed without the lease", guardRefusesCommit)
	t.Run("the task stays where it is until the transaction ends", guardKeepsTask)
	t.Run("a batch handler guards each of its tasks", guardInBatch)
	t.Run("the fence rises whatever becomes of the task", fenceRises)
}

// overtaken lets a handler wait until a later attempt of its task has begun.
type overtaken struct {
	mu    sync.Mutex
	begun map[int64][]chan struct{} // by task, one for each attempt; closed when a later one begins

	waiting, ended atomic.Int64 // attempts that wait, and handlers that have returned
}

// wait waits for a later attempt.
func (o *overtaken) wait(later <-chan struct{}) {
	o.waiting.Add(1)
	defer o.waiting.Add(-1)
	<-later
}

// loseLeases has three boxes work on tasks, and takes their leases away when every first attempt waits. It returns when
// all tasks are done and all handlers, of at least so many calls, have returned.
func (o *overtaken) loseLeases(b *bed, q *queue.Queue[note], tasks int, calls int64, handler queue.Handler[note]) {
	b.t.Helper()
	for range 3 {
		box := bedOn(b.t, b.pool, outbox.Config{})
		box.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
			defer o.ended.Add(1)
			return handler(ctx, task)
		}, queue.Concurrency(tasks)))
	}
	putMany(b, q, tasks)
	eventually(b.t, "every first attempt waits", func() (string, bool) {
		return fmt.Sprint(o.waiting.Load()), o.waiting.Load() == int64(tasks)
	})
	b.expireLeases()
	eventually(b.t, "all are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == tasks
	})
	eventually(b.t, "every handler has returned", func() (string, bool) {
		return fmt.Sprint(o.waiting.Load(), o.ended.Load()), o.waiting.Load() == 0 && o.ended.Load() >= calls
	})
}

// begin returns how many attempts of the task have begun, and what is closed when another does.
func (o *overtaken) begin(task int64) (n int, later <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if all := o.begun[task]; len(all) > 0 {
		close(all[len(all)-1])
	}
	o.begun[task] = append(o.begun[task], make(chan struct{}))
	n = len(o.begun[task])
	return n, o.begun[task][n-1]
}

// guardOrdersAttempts takes the leases of three boxes away while the first attempt of each task is
// between its commits; it goes on after the next attempt has begun.
func guardOrdersAttempts(t *testing.T) {
	t.Parallel()
	const tasks, stale = 10, 1
	b := newBed(t)
	b.exec(sqlWrites)
	q := queue.Define[note]("guard", queue.Config{Retry: atOnce, MaxAttempts: 1000})
	attempts := overtaken{begun: map[int64][]chan struct{}{}}
	attempts.loseLeases(b, q, tasks, (stale+1)*tasks, func(ctx context.Context, task queue.Task[note]) error {
		n, later := attempts.begin(task.ID)
		for i := range guardedCommits {
			if i == 1 && n <= stale {
				attempts.wait(later)
			}
			guardedWrite(ctx, b, task)
		}
		return nil
	})
	if whole, _ := wantGuarded(b); whole != tasks {
		t.Errorf("%d attempts wrote all; want %d", whole, tasks)
	}
}

const (
	guardedCommits = 3
	sqlWrites      = `CREATE TABLE public.writes (n bigserial PRIMARY KEY, task bigint NOT NULL, fence bigint NOT NULL)`
)

// wantGuarded checks that no write came after those of a later attempt, and returns how many attempts, and of how many
// tasks, wrote all.
func wantGuarded(b *bed) (attempts, tasks int) {
	b.t.Helper()
	late := value[int](b, `SELECT count(*) FROM public.writes w WHERE EXISTS (
		SELECT 1 FROM public.writes x WHERE x.task = w.task AND x.n < w.n AND x.fence > w.fence)`)
	if late > 0 {
		b.t.Errorf("%d writes came after those of a later attempt; want none", late)
	}
	const whole = ` FROM (SELECT task FROM public.writes GROUP BY task, fence HAVING count(*) = $1) x`
	return value[int](b, `SELECT count(*)`+whole, guardedCommits),
		value[int](b, `SELECT count(DISTINCT task)`+whole, guardedCommits)
}

// guardedWrite writes in a guarded transaction. It looks at no error, nor at the end of the context.
func guardedWrite(ctx context.Context, b *bed, task queue.Task[note]) {
	ctx = context.WithoutCancel(ctx)
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		return
	}
	_ = task.Guard(ctx, b.box.Tx(tx))
	_, _ = tx.Exec(ctx, `INSERT INTO public.writes (task, fence) VALUES ($1, $2)`, task.ID, task.Fence)
	_ = tx.Commit(ctx)
}

// guardRefusesCommit guards each kind of transaction, with and without the lease.
func guardRefusesCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newBed(t)
	b.exec(`CREATE TABLE public.notes (text text NOT NULL)`)
	db := stdlib.OpenDBFromPool(b.pool)
	defer func() { _ = db.Close() }()
	q := queue.Define[note]("guard-kinds", queue.Config{})
	id := put(b, q, note{})
	c, err := q.Claim(ctx, b.box, 1)
	noError(t, err)
	const write = `INSERT INTO public.notes VALUES ($1)`
	kinds := map[string]func() (guard, write, commit error){
		"owned": func() (error, error, error) {
			tx, err := b.box.Begin(ctx)
			noError(t, err)
			guard := c.Guard(ctx, tx, id)
			_, werr := tx.Pgx().Exec(ctx, write, "owned")
			return guard, werr, tx.Commit(ctx)
		},
		"borrowed": func() (error, error, error) {
			tx, err := b.pool.BeginTx(ctx, pgx.TxOptions{})
			noError(t, err)
			guard := c.Guard(ctx, b.box.Tx(tx), id)
			_, werr := tx.Exec(ctx, write, "borrowed")
			return guard, werr, tx.Commit(ctx)
		},
		"database/sql": func() (error, error, error) {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{})
			noError(t, err)
			guard := c.Guard(ctx, b.box.SQLTx(tx), id)
			_, werr := tx.ExecContext(ctx, write, "database/sql")
			return guard, werr, tx.Commit()
		},
	}
	for kind, run := range kinds {
		if guard, write, commit := run(); errors.Join(guard, write, commit) != nil {
			t.Errorf("%s, with the lease: %v, %v, %v; want no errors", kind, guard, write, commit)
		}
	}
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending' WHERE id = $1`, id)
	for kind, run := range kinds {
		guard, write, commit := run()
		wantError(t, guard, queue.ErrLeaseLost, "guard", "guard-kinds", fmt.Sprint(id))
		if write == nil || commit == nil {
			t.Errorf("%s, without the lease: the write says %v, the commit %v; want errors", kind, write, commit)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.notes`); n != len(kinds) {
		t.Errorf("%d rows were written; want the %d of the guarded transactions", n, len(kinds))
	}
	tx, err := b.box.Begin(ctx)
	noError(t, err)
	noError(t, tx.Rollback(ctx))
	wantError(t, c.Guard(ctx, tx, id), outbox.ErrTxDone)
	wantError(t, queue.Task[note]{ID: id}.Guard(ctx, tx), queue.ErrNotInHandler)
}

// guardKeepsTask has the lease taken away while a guarded transaction is open.
func guardKeepsTask(t *testing.T) {
	t.Parallel()
	const lease = 40 * time.Second
	b := newBed(t)
	q := queue.Define[note]("guard-keeps", queue.Config{Retry: atOnce})
	type attempt struct {
		number int
		fence  int64
	}
	began, guarded := make(chan attempt, 10), make(chan error)
	finish, rescued := make(chan struct{}), make(chan struct{})
	var idle string
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		began <- attempt{task.Attempt, task.Fence}
		if task.Attempt > 1 {
			return nil
		}
		err := b.box.InTx(context.WithoutCancel(ctx), func(tx *outbox.OwnedTx) error {
			err := task.Guard(ctx, tx)
			err = errors.Join(err, tx.Pgx().QueryRow(context.Background(), `SELECT current_setting(
				'idle_in_transaction_session_timeout')`).Scan(&idle))
			guarded <- err
			<-finish
			return err
		})
		<-rescued // between two tries of the rescue the handler's own completion would be first
		return err
	}, queue.VisibilityTimeout(lease)))
	id := put(b, q, note{})
	first := receive(t, "the handler begins", began)
	noError(t, receive(t, "it is guarded", guarded))
	if idle != "30s" {
		t.Errorf("the guarded transaction may be idle for %s; want 30s of a lease of %v", idle, lease)
	}
	b.expireLeases()
	// The rescue waits for the transaction, at most as long as its lock_timeout; then it tries again.
	eventually(t, "the rescue waits", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND query LIKE '%strunk_rescue%'`)
		return fmt.Sprint(n), n > 0
	})
	select {
	case a := <-began:
		t.Errorf("attempt %d began within the guarded transaction of another", a.number)
	default:
	}
	close(finish)
	second := receive(t, "another attempt begins after it", began)
	close(rescued)
	if second.fence <= first.fence {
		t.Errorf("the second attempt has fence %d, the first %d; want it to rise", second.fence, first.fence)
	}
	reach(b, q, id, queue.StatusDelivered)
}

func guardInBatch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("guard-batch", queue.Config{})
	var mu sync.Mutex
	var problems []error
	b.run(q.BatchWorker(func(ctx context.Context, tasks []queue.Task[note]) error {
		return b.box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
			for _, task := range tasks {
				err = errors.Join(err, task.Guard(ctx, tx))
			}
			if other := (queue.Task[note]{ID: -1}).Guard(ctx, tx); !errors.Is(other, queue.ErrNotInHandler) {
				err = errors.Join(err, fmt.Errorf("a task of no batch: %v", other))
			}
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, err)
			return err
		})
	}, queue.BatchSize(5)))
	for _, id := range putMany(b, q, 5) {
		reach(b, q, id, queue.StatusDelivered)
	}
	mu.Lock()
	defer mu.Unlock()
	if err := errors.Join(problems...); err != nil {
		t.Error(err)
	}
}

// fenceRises claims one task again after each way in which it can come back.
func fenceRises(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newBed(t)
	q := queue.Define[note]("fence-rises", queue.Config{Retry: atOnce})
	id := put(b, q, note{}, queue.CustomerKey("c"))
	b.run() // promoter and rescue
	type claim = queue.Claim[note]
	ways := []struct {
		name string
		back func(c *claim) error
	}{
		{"given back", func(c *claim) error { return c.Release(ctx) }},
		{"snoozed", func(c *claim) error { return c.Fail(ctx, id, queue.Snooze(time.Millisecond)) }},
		{"failed", func(c *claim) error { return c.Fail(ctx, id, errors.New("no")) }},
		{"dead and retried", func(c *claim) error {
			err := c.Fail(ctx, id, fmt.Errorf("no: %w", queue.ErrPoison))
			b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, id)
			return err
		}},
		{"discarded and retried by hand", func(c *claim) error {
			err := c.Fail(ctx, id, queue.Discard("no"))
			b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`, id)
			return err
		}},
		{"taken from its worker by hand", func(*claim) error {
			b.exec(`UPDATE public.strunk_outbox SET status = 'pending' WHERE id = $1`, id)
			return nil
		}},
		{"lost", func(*claim) error { b.expireLeases(); return nil }},
	}
	last := int64(0)
	for _, way := range append(ways, ways[0]) {
		var c *claim
		eventually(t, "the task can be claimed", func() (string, bool) {
			var err error
			c, err = q.Claim(ctx, b.box, 1)
			noError(t, err)
			return string(get(b, q, id).Status), len(c.Tasks) == 1
		})
		if fence := c.Tasks[0].Fence; fence <= last {
			t.Errorf("before it was %s the task has fence %d, after %d; want it to rise", way.name, fence, last)
		} else {
			last = fence
		}
		noError(t, way.back(c))
	}
}
