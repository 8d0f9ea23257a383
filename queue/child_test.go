package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// spawnWorker starts a process with a worker of a queue.
func spawnWorker(b *bed, name string, lease time.Duration, concurrency int) *faults.Child {
	b.t.Helper()
	c := faults.Spawn(b.t, "worker", "CHILD_DSN="+outboxtest.DSN(b.pool), "CHILD_QUEUE="+name,
		"CHILD_LEASE="+lease.String(), "CHILD_CONCURRENCY="+strconv.Itoa(concurrency))
	c.Await(b.t, "up", soon)
	return c
}

// childWorker is that process. It prints "started <id>" when a handler begins. A handler waits until its context ends,
// prints "ended <text>: <cause>", and then does what the task's text says: complete, fail or poison.
func childWorker() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet, Disable: []outbox.Loop{outbox.LoopRescue}})
	must(err)
	lease, err := time.ParseDuration(os.Getenv("CHILD_LEASE"))
	must(err)
	concurrency, err := strconv.Atoi(os.Getenv("CHILD_CONCURRENCY"))
	must(err)
	q := queue.Define[note](os.Getenv("CHILD_QUEUE"), queue.Config{Retry: atOnce})
	fmt.Println("up")
	must(box.Run(ctx, q.Worker(childHandler, queue.VisibilityTimeout(lease), queue.Concurrency(concurrency))))
}

func childHandler(ctx context.Context, task queue.Task[note]) error {
	fmt.Println("started", task.ID)
	<-ctx.Done()
	fmt.Printf("ended %s: %v\n", task.Payload.Text, context.Cause(ctx))
	switch task.Payload.Text {
	case "fail":
		return errors.New("a stale worker's failure")
	case "poison":
		return queue.ErrPoison
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// awaitClaimed waits until a child has begun all of the tasks.
func awaitStarted(t testing.TB, c *faults.Child, n int) {
	t.Helper()
	for range n {
		c.Await(t, "started", soon)
	}
}

// The tasks of a killed worker come to another one, each once, and not before a lease after the last heartbeat.
func TestKilledWorkerTasksAreRedelivered(t *testing.T) {
	t.Parallel()
	const lease, tasks = 8 * time.Second, 40
	b := newBed(t)
	q := queue.Define[note]("killed", queue.Config{})
	child := spawnWorker(b, q.Name(), lease, tasks)
	ids := putMany(b, q, tasks)
	awaitStarted(t, child, tasks)

	again := make(chan queue.Task[note], 2*tasks)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { again <- task; return nil }))
	eventually(t, "the second worker has its lease", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers`)
		return fmt.Sprint(n), n == 2
	})
	heartbeat := value[time.Time](b, `SELECT heartbeat_at FROM public.strunk_workers WHERE pid = $1`, child.PID())
	child.Kill()

	seen := map[int64]bool{}
	for range tasks {
		task := receive(t, "every task is redelivered", again)
		if seen[task.ID] || task.Attempt != 2 {
			t.Errorf("task %d: attempt %d, seen before: %v; want each once, as attempt 2", task.ID, task.Attempt,
				seen[task.ID])
		}
		seen[task.ID] = true
	}
	for _, id := range ids {
		rec := reach(b, q, id, queue.StatusDelivered)
		if silent := rec.ClaimedAt.Sub(heartbeat); silent < lease {
			t.Errorf("task %d was redelivered %v after a heartbeat; want the lease of %v at least", id, silent, lease)
		}
		if len(rec.Attempts) != 1 || !strings.Contains(rec.Attempts[0].Worker, "/"+strconv.Itoa(child.PID())) {
			t.Errorf("task %d: the history %+v does not name the lost worker", id, rec.Attempts)
		}
	}
	eventually(t, "the dead worker's lease row goes after its last task", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers`)
		return fmt.Sprint(n), n == 1
	})
}

func TestCrashCountsAsAttempt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run() // the rescue
	q := queue.Define[note]("crash", queue.Config{})
	once, twice := put(b, q, note{"once"}, queue.MaxAttempts(1)), put(b, q, note{"twice"}, queue.MaxAttempts(2))
	crash := func(tasks int) {
		child := spawnWorker(b, q.Name(), toTheKill, 2)
		awaitStarted(t, child, tasks)
		kill(b, child)
	}
	crash(2)
	reach(b, q, once, queue.StatusDead)
	if rec := reach(b, q, twice, queue.StatusPending); rec.Attempt != 1 || rec.LastError == "" {
		t.Errorf("after one crash of two allowed: attempt %d, last error %q; want 1 and why", rec.Attempt,
			rec.LastError)
	}
	crash(1)
	rec := reach(b, q, twice, queue.StatusDead)
	if rec.Attempt != 2 || len(rec.Attempts) != 2 || rec.Attempts[0].Number != 1 || rec.Attempts[1].Number != 2 {
		t.Errorf("after two crashes: attempt %d, history %+v; want both crashes", rec.Attempt, rec.Attempts)
	}
}

func TestStaleWorkerCannotComplete(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("stale", queue.Config{Retry: atOnce})
	child := spawnWorker(b, q.Name(), toTheKill, 3)
	texts := []string{"complete", "fail", "poison"}
	ids := make([]int64, len(texts))
	for i, text := range texts {
		ids[i] = put(b, q, note{text})
	}
	awaitStarted(t, child, len(texts))
	if err := child.Freeze(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("processes cannot be frozen here")
	} else if err != nil {
		t.Fatal(err)
	}

	b.expireLeases()
	// Another worker has the tasks by the time the frozen one wakes up, and is still busy with them.
	begun, finish := make(chan int64, 10), make(chan struct{})
	stop := b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		begun <- task.ID
		<-finish
		return nil
	}, queue.Concurrency(len(texts))))
	for range texts {
		receive(t, "the tasks are taken over", begun)
	}
	before := value[string](b, allTasks, q.Name())

	if err := child.Wake(); err != nil {
		t.Fatal(err)
	}
	ended := map[string]string{}
	for range texts {
		text, cause, _ := strings.Cut(child.Await(t, "ended", soon), ": ")
		ended[text] = cause
	}
	for _, text := range texts {
		if !strings.Contains(ended[text], queue.ErrLeaseLost.Error()) {
			t.Errorf("the stale handler of %q ended with cause %q; want ErrLeaseLost", text, ended[text])
		}
	}
	// Its next lease row shows that the stale worker has settled, or tried to, all that it held.
	eventually(t, "the woken process takes a new lease", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers WHERE pid = $1`, child.PID())
		return fmt.Sprint(n), n == 1
	})
	if after := value[string](b, allTasks, q.Name()); after != before {
		t.Errorf("the woken worker changed the table:\nbefore %s\nafter  %s", before, after)
	}
	child.Kill()
	close(finish)
	for _, id := range ids {
		if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 2 || len(rec.Attempts) != 1 {
			t.Errorf("task %d: attempt %d, history %+v; want attempt 2 after one lost worker", id, rec.Attempt,
				rec.Attempts)
		}
	}
	stop()
}

// allTasks renders every column of a queue's rows ($1).
const allTasks = `SELECT json_agg(o ORDER BY o.id)::text FROM public.strunk_outbox o WHERE o.key = $1`
