package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// starts is a queue whose child process is killed.
func starts(maxAttempts int) *queue.Queue[note] {
	return queue.Define[note]("starts", queue.Config{MaxAttempts: maxAttempts, Retry: atOnce})
}

// childStarter works the queue starts with 8 handlers. Each prints "started <id>", appends the id
// to CHILD_FILE, and does what the task's text says: return (quick), return after half a
// millisecond (short), run for ever (hang), or end the process (crash). With CHILD_SLOTS it has 8 of the slots that it
// shares with a worker of another queue.
func childStarter() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	file, err := os.OpenFile(os.Getenv("CHILD_FILE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(err)
	fmt.Println("up")
	handler := func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "quick" {
			return nil
		}
		fmt.Fprintln(file, task.ID)
		fmt.Println("started", task.ID)
		switch task.Payload.Text {
		case "hang":
			select {}
		case "crash":
			os.Exit(3)
		}
		time.Sleep(500 * time.Microsecond)
		return nil
	}
	if os.Getenv("CHILD_SLOTS") == "" {
		must(box.Run(ctx, starts(1).Worker(handler, queue.Concurrency(8), queue.VisibilityTimeout(toTheKill))))
	}
	slots, other := queue.Slots(100), queue.Define[note]("others", queue.Config{})
	must(box.Run(ctx, starts(1).Worker(handler, slots, queue.VisibilityTimeout(toTheKill)),
		other.Worker(handler, slots, queue.MinSlots(92))))
}

// toTheKill is a lease that no busy machine lets run out: one that is lost before the kill has tasks
// of its own that had started.
const toTheKill = time.Minute

func spawnStarter(b *bed, file string, env ...string) *faults.Child {
	b.t.Helper()
	return faults.Spawn(b.t, "starter", append(env, "CHILD_DSN="+outboxtest.DSN(b.pool), "CHILD_FILE="+file)...)
}

// kill kills a child, takes its lease away, and waits for the rescue.
func kill(b *bed, child *faults.Child) {
	b.t.Helper()
	child.Kill()
	b.expireLeases()
	awaitRescue(b)
}

// expireLeases takes the leases of all workers away.
func (b *bed) expireLeases() {
	b.t.Helper()
	eventually(b.t, "the leases are taken away", func() (string, bool) {
		_, err := b.pool.Exec(context.Background(), `SELECT public.strunk_expire_lease(id, NULL)
			FROM public.strunk_workers`)
		return fmt.Sprint(err), err == nil // a worker's last statement may still be running
	})
}

// enqueueTexts adds n tasks of a text.
func enqueueTexts(b *bed, q *queue.Queue[note], text string, n int) {
	b.t.Helper()
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := q.EnqueueBatch(context.Background(), tx, slices.Repeat([]note{{text}}, n))
		return err
	})
}

// startedIn returns the ids that children have appended to a file.
func startedIn(t *testing.T, file string) map[int64]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[int64]bool{}
	for _, line := range strings.Fields(string(text)) {
		id, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}

// awaitRescue waits until no worker is left, with the rescue running.
func awaitRescue(b *bed) {
	b.t.Helper()
	eventually(b.t, "the rescue has given the tasks back", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_workers`)
		return fmt.Sprint(n), n == 0
	})
}

func deadIDs(b *bed) []int64 {
	return value[[]int64](b, `SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM public.strunk_outbox
		WHERE status = 'dead'`)
}

// Of what was claimed ahead, a killed worker's crash costs those an attempt that had started, and no others.
func TestNeverBegunCostsNoAttempt(t *testing.T) {
	t.Parallel()
	t.Run("of a worker with handlers of its own", func(t *testing.T) { neverBegunCostsNoAttempt(t) })
	t.Run("of a worker that shares slots", func(t *testing.T) { neverBegunCostsNoAttempt(t, "CHILD_SLOTS=yes") })
}

func neverBegunCostsNoAttempt(t *testing.T, env ...string) {
	t.Parallel()
	b := newBed(t)
	b.run() // the rescue
	q := starts(1)
	enqueueTexts(b, q, "quick", 2000) // so that the worker claims ahead
	enqueueTexts(b, q, "hang", 60)
	child := spawnStarter(b, filepath.Join(t.TempDir(), "started"), env...)
	for range 8 {
		child.Await(t, "started", soon)
	}
	eventually(t, "the database knows that 8 have started, of many that are claimed", func() (string, bool) {
		state := value[string](b, `SELECT coalesce(string_agg(s, ' ' ORDER BY s), '') FROM (
			SELECT c.state || ' ' || count(*) AS s FROM public.strunk_workers w
			CROSS JOIN LATERAL public.strunk_crash_states(w.id, ARRAY(SELECT id FROM public.strunk_outbox
			WHERE status = 'claimed' AND payload->>'text' = 'hang')) c
			GROUP BY c.state) x`)
		return state, strings.Contains(" "+state+" ", " started 8 ")
	})
	claimed := b.counts(q.Name())[queue.StatusClaimed]
	kill(b, child)
	if claimed <= 8 {
		t.Errorf("%d tasks were claimed at the kill: none ahead, so the test has shown nothing", claimed)
	}
	// All quick ones had started, too; a busy database has not stored all of their outcomes.
	if dead := value[int](b, `SELECT count(*) FROM public.strunk_outbox
		WHERE status = 'dead' AND payload->>'text' = 'hang'`); dead != 8 {
		t.Errorf("%d dead letters of %d tasks that were claimed; want the 8 that had started", dead, claimed)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending'
		AND attempts > 0`); n > 0 {
		t.Errorf("%d tasks that never started have spent an attempt", n)
	}
}

// The same at any moment, with handlers of half a millisecond. A kill may fall between the write
// that tasks start and their starts: so it may charge tasks that never started, one for each handler
// at most, of hundreds that are claimed.
func TestKillAtAnyMomentSparesWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run()
	q, file := starts(1), filepath.Join(t.TempDir(), "started")
	const kills, concurrency = 10, 8
	unstarted, known := 0, 0
	for range kills {
		enqueueTexts(b, q, "short", 500)
		child := spawnStarter(b, file)
		for range concurrency {
			child.Await(t, "started", soon)
		}
		time.Sleep(rand.N(30 * time.Millisecond))
		kill(b, child)
		started, dead, n := startedIn(t, file), deadIDs(b), 0
		for _, id := range dead {
			if !started[id] {
				n++
			}
		}
		if n-unstarted > concurrency {
			t.Errorf("a kill has made dead letters of %d tasks that have never started; want at most %d, one for "+
				"each handler", n-unstarted, concurrency)
		}
		unstarted, known = n, len(dead)
	}
	t.Logf("%d dead letters, of which %d have never started", known, unstarted)
	if known == 0 {
		t.Error("no task that had started is a dead letter: the test has shown nothing")
	}
}

// A task that ends the process each time is a dead letter after its attempts, and one more at most;
// its neighbours, which are claimed ahead with it and may start with it, are done.
func TestCrashLoopSparesItsNeighbours(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run()
	q := starts(3)
	enqueueTexts(b, q, "quick", 500)
	poison := put(b, q, note{"crash"})
	enqueueTexts(b, q, "quick", 500)
	crashes := 0
	for get(b, q, poison).Status != queue.StatusDead {
		if crashes++; crashes > 4 {
			t.Fatalf("the task has ended %d processes and is no dead letter: %+v", crashes-1, get(b, q, poison))
		}
		child := spawnStarter(b, filepath.Join(t.TempDir(), "started"))
		child.Await(t, "started", soon)
		kill(b, child)
	}
	if crashes < 3 {
		t.Errorf("the task was given up after %d starts; want its 3 attempts", crashes)
	}
	spawnStarter(b, filepath.Join(t.TempDir(), "started"))
	eventually(t, "the others are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == 1000
	})
}
