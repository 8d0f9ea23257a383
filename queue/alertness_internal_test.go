package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
)

// A task whose transaction notifies nobody, because the workers of its queue were awake, is found by a look of theirs,
// in whatever order it is enqueued (e) and committed (c), and a worker falls asleep (s) and looks (l). A task that is
// enqueued while one is asleep notifies.
func TestAdaptiveNotifyBound(t *testing.T) {
	t.Parallel()
	pool, box := testBox(t)
	heard := testkit.Listen(t, pool, "strunk:public")
	for _, c := range []struct {
		order             string
		notifies, looks   bool // whether the look finds the task
		foundBySecondLook bool
	}{
		{order: "ecsl", looks: true}, {order: "escl", looks: true}, {order: "eslc", foundBySecondLook: true},
		{order: "secl", notifies: true, looks: true}, {order: "selc", notifies: true, foundBySecondLook: true},
		{order: "slec", notifies: true, foundBySecondLook: true},
	} {
		t.Run(c.order, func(t *testing.T) {
			queue := "order-" + c.order
			w := awakeWorker(t, box, queue)
			heard()
			var found bool
			interleave(t, pool, queue, c.order, map[rune]func(){
				's': func() {
					fallAsleep(t, w)
					requireGrowingPauses(t, w)
				},
				'l': func() { found = lookNow(t, w) },
			})
			if found != c.looks {
				t.Errorf("the look found work: %v; want %v", found, c.looks)
			}
			if c.foundBySecondLook && !lookNow(t, w) {
				t.Error("the task was not found by a look after the commit")
			}
			if got := slices.Contains(heard(), core.TopicQueue(queue)); got != c.notifies {
				t.Errorf("notified: %v; want %v", got, c.notifies)
			}
		})
	}
}

// So is a task whose transaction notifies nobody because there was no worker, in whatever order it is enqueued (e) and
// committed (c), and a worker starts (w), which looks as it makes its row, and looks again (l).
func TestFirstWorkerNotifyBound(t *testing.T) {
	t.Parallel()
	pool, box := testBox(t)
	heard := testkit.Listen(t, pool, "strunk:public")
	for _, c := range []struct {
		order          string
		notifies       bool
		atStart, looks bool // whether the look at the start, and the one after it, find the task
	}{
		{order: "ecw", atStart: true}, {order: "ewcl", looks: true}, {order: "ewlc"},
		{order: "wecl", notifies: true, looks: true}, {order: "welc", notifies: true}, {order: "wlec", notifies: true},
	} {
		t.Run(c.order, func(t *testing.T) {
			queue := "first-" + c.order
			heard()
			var s *session
			found := false
			interleave(t, pool, queue, c.order, map[rune]func(){
				'w': func() { s = testSession(t, box, queue) },
				'l': func() { found = lookNow(t, s.claimer) },
			})
			if s.claimer.work != c.atStart {
				t.Errorf("the look at the start found work: %v; want %v", s.claimer.work, c.atStart)
			}
			if found != c.looks {
				t.Errorf("the next look found work: %v; want %v", found, c.looks)
			}
			if !lookNow(t, s.claimer) {
				t.Error("the task was not found by a look after the commit")
			}
			requireGrowingPauses(t, s.claimer)
			if got := slices.Contains(heard(), core.TopicQueue(queue)); got != c.notifies {
				t.Errorf("notified: %v; want %v", got, c.notifies)
			}
		})
	}
}

// interleave begins a transaction and takes the steps of an order: e enqueues a task in it, c commits it, and the
// others are the caller's.
func interleave(t *testing.T, pool *pgxpool.Pool, queue, order string, others map[rune]func()) {
	t.Helper()
	ctx := t.Context()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for _, step := range order {
		var err error
		switch step {
		case 'e':
			_, err = tx.Exec(ctx, `SELECT public.strunk_enqueue($1)`, queue)
		case 'c':
			err = tx.Commit(ctx)
		default:
			others[step]()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// lookNow has a worker look for work.
func lookNow(t *testing.T, w *claimer) bool {
	t.Helper()
	found, err := w.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// awakeWorker returns the claimer of a worker whose lease row says that it is awake.
func awakeWorker(t *testing.T, box *outbox.Box, queue string) *claimer {
	t.Helper()
	ctx := t.Context()
	s := testSession(t, box, queue)
	testkit.Eventually(t, "the worker wakes up", func() bool {
		s.claimer.stayAlert(ctx, 1000)
		return s.claimer.alert.Noted()
	})
	return s.claimer
}

// fallAsleep lets the time pass in which the worker would stay awake.
func fallAsleep(t *testing.T, w *claimer) {
	t.Helper()
	for range 10 {
		w.pauses.Take(time.Hour)
	}
	time.Sleep(core.AwakeFor)
	if w.stayAlert(t.Context(), 0); w.alert.Noted() {
		t.Fatal("the worker did not fall asleep")
	}
}

// requireGrowingPauses checks the pauses of a worker that has just fallen asleep: a commit at any time after that is
// found after at most as long again, or firstPause.
func requireGrowingPauses(t *testing.T, w *claimer) {
	t.Helper()
	for since := time.Duration(0); since < time.Hour; {
		pause := w.alert.Pause(w.pauses.Take(time.Hour))
		if pause > since+firstPause {
			t.Fatalf("a pause of %v %v after the worker fell asleep", pause, since)
		}
		since += pause
	}
}

// A queue of which one worker is awake and another asleep notifies.
func TestOneAsleepIsNotified(t *testing.T) {
	t.Parallel()
	pool, box := testBox(t)
	asleep := func() (asleep bool) {
		if err := pool.QueryRow(t.Context(), `SELECT public.strunk_may_sleep('two')`).Scan(&asleep); err != nil {
			t.Fatal(err)
		}
		return asleep
	}
	if asleep() {
		t.Error("there is no worker, and it is notified")
	}
	one, other := awakeWorker(t, box, "two"), awakeWorker(t, box, "two")
	if asleep() {
		t.Error("both workers are awake, and are notified")
	}
	if fallAsleep(t, other); !asleep() {
		t.Error("one worker is asleep, and is not notified")
	}
	if fallAsleep(t, one); !asleep() {
		t.Error("both workers are asleep, and are not notified")
	}
}
