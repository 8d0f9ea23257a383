package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// killed has handlers whose process may be killed or frozen at any moment.
type killed struct {
	box  *outbox.Box
	pool *pgxpool.Pool
}

// childKilled is a process with a worker of the queue CHILD_QUEUE, which says what its handler does.
func childKilled() {
	ctx := context.Background()
	cfg, err := pgxpool.ParseConfig(os.Getenv("CHILD_DSN"))
	must(err)
	cfg.MaxConns = 6
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	k := killed{box, pool}
	name := os.Getenv("CHILD_QUEUE")
	handler := map[string]queue.Handler[note]{"kill-steps": k.steps, "kill-deadlines": k.deadlines,
		"kill-guard": k.guard, "kill-dedup": k.dedup}[name]
	q := killQueue(name)
	fmt.Println("up")
	if name == "kill-dedup" {
		go func() {
			for k.again(ctx) != nil {
				k.ask(ctx, q)
			}
		}()
	}
	must(box.Run(ctx, q.Worker(handler, queue.Concurrency(3), queue.VisibilityTimeout(toTheKill))))
}

func killQueue(name string) *queue.Queue[note] {
	cfg := queue.Config{Retry: atOnce, MaxAttempts: 1000, Outcomes: name + "-outcome"}
	if name == "kill-dedup" {
		cfg.Dedup = queue.DedupByPayload()
	}
	return queue.Define[note](name, cfg)
}

// linger says that the handler is at work, and gives the test time to do something about it.
func linger(task queue.Task[note]) {
	fmt.Println("in", task.ID)
	time.Sleep(rand.N(15 * time.Millisecond))
}

// again fails the attempt until the test has killed whom it wants to.
func (k killed) again(ctx context.Context) error {
	var over bool
	err := k.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM public.over)`).Scan(&over)
	if err == nil && !over {
		err = errors.New("once more")
	}
	return err
}

func (k killed) steps(ctx context.Context, task queue.Task[note]) error {
	value, err := queue.Step(ctx, "first", func(context.Context) (int64, error) { return rand.Int64(), nil })
	if err != nil {
		return err
	}
	linger(task)
	if _, err := k.pool.Exec(ctx, `INSERT INTO public.seen VALUES ($1, $2)`, task.ID, value); err != nil {
		return err
	}
	b := &bed{box: k.box, pool: k.pool}
	linger(task)
	return errors.Join(charge(ctx, b, task), k.again(ctx))
}

func (k killed) guard(ctx context.Context, task queue.Task[note]) error {
	b := &bed{box: k.box, pool: k.pool}
	for range guardedCommits {
		guardedWrite(ctx, b, task)
		linger(task)
	}
	return k.again(ctx)
}

// ask enqueues one of dedupPayloads payloads, and records in the same transaction what it was answered. The lock keeps
// the test from saying that it is over before this has committed.
func (k killed) ask(ctx context.Context, q *queue.Queue[note]) {
	payload := note{fmt.Sprint(rand.N(dedupPayloads))}
	_ = k.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := tx.Pgx().Exec(ctx, `LOCK TABLE public.over IN SHARE MODE`); err != nil {
			return err
		}
		if k.again(ctx) == nil {
			return nil
		}
		done, err := q.Enqueue(ctx, tx, payload)
		if err != nil {
			return err
		}
		_, err = tx.Pgx().Exec(ctx, `INSERT INTO public.asked VALUES ($1, $2, $3)`, payload.Text, done.ID,
			!done.Duplicate)
		return err
	})
}

// dedup fails every other attempt, so that tasks end and come back while others are enqueued.
func (k killed) dedup(_ context.Context, task queue.Task[note]) error {
	linger(task)
	if rand.N(2) == 0 {
		return errors.New("once more")
	}
	return nil
}

func (k killed) deadlines(ctx context.Context, task queue.Task[note]) error {
	if _, err := k.pool.Exec(context.WithoutCancel(ctx), `INSERT INTO public.begun VALUES ($1)`, task.ID); err != nil {
		return err
	}
	linger(task)
	for ctx.Err() == nil && k.again(ctx) != nil {
		time.Sleep(10 * time.Millisecond)
	}
	return context.Cause(ctx)
}

// underKills has three processes work on a queue. The first is frozen while its lease is taken away, and wakes up when
// others have its tasks. Then those are killed in the middle of their handlers, and the first ends the work. strike is
// called before each.
func underKills(b *bed, q *queue.Queue[note], strike func()) {
	b.t.Helper()
	b.exec(`CREATE TABLE public.over ()`)
	var children [3]*faults.Child
	for i := range children {
		children[i] = faults.Spawn(b.t, "killed", "CHILD_DSN="+outboxtest.DSN(b.pool), "CHILD_QUEUE="+q.Name())
	}
	for i, c := range children {
		c.Await(b.t, "in", soon)
		strike()
		time.Sleep(rand.N(15 * time.Millisecond))
		if i > 0 {
			c.Kill()
			loseLease(b, c)
			continue
		}
		noError(b.t, c.Freeze())
		loseLease(b, c)
		awaitHeirs(b, c)
		noError(b.t, c.Wake())
	}
	b.exec(`INSERT INTO public.over DEFAULT VALUES`)
	eventually(b.t, "all have ended", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusPending]+c[queue.StatusScheduled]+c[queue.StatusClaimed] == 0
	})
}

// loseLease takes the lease of a process away that is frozen or dead.
func loseLease(b *bed, c *faults.Child) {
	b.t.Helper()
	eventually(b.t, "the lease is taken away", func() (string, bool) {
		_, err := b.pool.Exec(context.Background(), `SELECT public.strunk_expire_lease(id, NULL)
			FROM public.strunk_workers WHERE pid = $1`, c.PID())
		return fmt.Sprint(err), err == nil // its last statement may still be running
	})
}

// awaitHeirs waits until others have begun the tasks of a frozen process. It does not wait for long: a transaction
// that the process has open may keep them.
func awaitHeirs(b *bed, c *faults.Child) {
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(5 * time.Millisecond) {
		if value[int](b, `SELECT count(*) FROM public.strunk_workers WHERE pid = $1`, c.PID()) == 0 {
			break // its row goes after its last task
		}
	}
	time.Sleep(50 * time.Millisecond)
}

// stepsOutliveKills is for real processes what stepsOutliveLeases is for boxes.
func stepsOutliveKills(t *testing.T) {
	t.Parallel()
	const tasks = 8
	b := newBed(t)
	b.exec(`CREATE TABLE public.charges (task bigint NOT NULL, step text NOT NULL, fence bigint NOT NULL);
		CREATE TABLE public.seen (task bigint NOT NULL, value bigint NOT NULL)`)
	q := killQueue("kill-steps")
	putMany(b, q, tasks)
	underKills(b, q, func() {})
	if got := value[string](b, `SELECT concat_ws(' ', count(DISTINCT (task, value)), count(DISTINCT task))
		FROM public.seen`); got != fmt.Sprint(tasks, tasks) {
		t.Errorf("results of one step and tasks that saw one: %s; want %d of each", got, tasks)
	}
	got := value[string](b, `SELECT concat_ws(' ', count(*), count(DISTINCT (task, step))) FROM public.charges`)
	if got != fmt.Sprint(2*tasks, 2*tasks) {
		t.Errorf("charges, and different ones: %s; want %d of each", got, 2*tasks)
	}
	wantOneOutcome(b, q)
}

// wantOneOutcome checks that each task has ended once, and has published how.
func wantOneOutcome(b *bed, q *queue.Queue[note]) {
	b.t.Helper()
	if wrong := value[int](b, `SELECT count(*) FROM public.strunk_outbox t WHERE t.kind = 'task' AND t.key = $1
		AND (SELECT array_agg(e.version || ' ' || (e.payload->>'status')) FROM public.strunk_outbox e
			WHERE e.kind = 'event' AND e.key = $1 || '-outcome' AND e.entity_id = t.id::text)
		IS DISTINCT FROM ARRAY['1 ' || replace(t.status, 'delivered', 'done')]`, q.Name()); wrong != 0 {
		b.t.Errorf("%d tasks have not published one outcome, their own", wrong)
	}
}

// guardUnderKills is for real processes what guardOrdersAttempts is for boxes.
func guardUnderKills(t *testing.T) {
	t.Parallel()
	const tasks = 8
	b := newBed(t)
	b.exec(sqlWrites)
	q := killQueue("kill-guard")
	putMany(b, q, tasks)
	underKills(b, q, func() {})
	if _, whole := wantGuarded(b); whole != tasks {
		t.Errorf("attempts of %d tasks wrote all; want %d", whole, tasks)
	}
}

// deadlinesUnderKills is for real processes what deadlinesUnderLostLeases is for boxes.
func deadlinesUnderKills(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE TABLE public.begun (task bigint NOT NULL)`)
	q := killQueue("kill-deadlines")
	more := func() {
		for range 10 {
			put(b, q, note{}, queue.BeginWithin(time.Hour))
		}
	}
	more()
	underKills(b, q, func() { b.makeLate(q.Name()); more() })
	wantBegunOrLate(b, q)
	wantOneOutcome(b, q)
	if c := b.counts(q.Name()); c[queue.StatusDiscarded] == 0 || c[queue.StatusDelivered] == 0 {
		t.Errorf("%v: want some of each", c)
	}
}

// dedupPayloads is how many payloads the processes of dedupUnderKills enqueue, again and again.
const dedupPayloads = 10

// dedupUnderKills has three processes enqueue the same few payloads and work on them.
func dedupUnderKills(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE TABLE public.asked (payload text NOT NULL, task bigint NOT NULL, added boolean NOT NULL)`)
	q := killQueue("kill-dedup")
	alone := func() {
		t.Helper()
		if n := value[int](b, `SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM public.strunk_outbox
			WHERE key = 'kill-dedup' AND status IN ('pending', 'scheduled', 'claimed')
			GROUP BY payload->>'text') x`); n > 1 {
			t.Errorf("%d tasks of one payload wait or run at once; want one", n)
		}
	}
	underKills(b, q, alone)
	alone()
	// Each task was answered for once, and whoever was told of a duplicate was told of a task with its payload.
	if got := value[string](b, `SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE NOT asked)) FROM (
		SELECT (SELECT count(*) FROM public.asked a WHERE a.task = t.id AND a.added) = 1 AS asked
		FROM public.strunk_outbox t WHERE t.kind = 'task' AND t.key = 'kill-dedup') x`); !strings.HasSuffix(got, " 0") {
		t.Errorf("tasks, and those that not one enqueue has added: %s", got)
	}
	if n := value[int](b, `SELECT count(*) FROM public.asked a WHERE NOT EXISTS (SELECT FROM public.strunk_outbox t
		WHERE t.id = a.task AND t.payload->>'text' = a.payload)`); n != 0 {
		t.Errorf("%d enqueues were answered with a task that is not there, or has another payload", n)
	}
	wantOneOutcome(b, q)
}
