package queue

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A task whose transaction notifies nobody, because the workers of its queue were awake, is found by a look of theirs,
// in whatever order it is enqueued (e) and committed (c), and a worker falls asleep (s) and looks (l). A task that is
// enqueued while one is asleep notifies.
func TestAdaptiveNotifyBound(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := outboxtest.New(t)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
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
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(ctx) }()
			look := func() bool {
				any, err := w.look(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return any
			}
			var found bool
			for _, step := range c.order {
				var err error
				switch step {
				case 'e':
					_, err = tx.Exec(ctx, `SELECT public.strunk_enqueue($1)`, queue)
				case 'c':
					err = tx.Commit(ctx)
				case 's':
					fallAsleep(t, w)
					requireGrowingPauses(t, w)
				case 'l':
					found = look()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if found != c.looks {
				t.Errorf("the look found work: %v; want %v", found, c.looks)
			}
			if c.foundBySecondLook && !look() {
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
	ctx := t.Context()
	pool := outboxtest.New(t)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
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
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(ctx) }()
			var s *session
			found := false
			for _, step := range c.order {
				var err error
				switch step {
				case 'e':
					_, err = tx.Exec(ctx, `SELECT public.strunk_enqueue($1)`, queue)
				case 'c':
					err = tx.Commit(ctx)
				case 'w':
					s, err = newSession(newWorker(newDefinition(queue, Config{}), nil, nil),
						core.Life{Soft: ctx, Hard: ctx, End: ctx}, modelRuntime{core.BoxHost(box)}, time.Second,
						newClaimSize())
				case 'l':
					found, err = s.claimer.look(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if s.claimer.work != c.atStart {
				t.Errorf("the look at the start found work: %v; want %v", s.claimer.work, c.atStart)
			}
			if found != c.looks {
				t.Errorf("the next look found work: %v; want %v", found, c.looks)
			}
			if any, err := s.claimer.look(ctx); !any || err != nil {
				t.Errorf("a look after the commit found work: %v, %v; want true", any, err)
			}
			requireGrowingPauses(t, s.claimer)
			if got := slices.Contains(heard(), core.TopicQueue(queue)); got != c.notifies {
				t.Errorf("notified: %v; want %v", got, c.notifies)
			}
		})
	}
}

// awakeWorker returns the claimer of a worker whose lease row says that it is awake.
func awakeWorker(t *testing.T, box *outbox.Box, queue string) *claimer {
	t.Helper()
	ctx := t.Context()
	s, err := newSession(newWorker(newDefinition(queue, Config{}), nil, nil), core.Life{Soft: ctx, Hard: ctx, End: ctx},
		modelRuntime{core.BoxHost(box)}, time.Second, newClaimSize())
	if err != nil {
		t.Fatal(err)
	}
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
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
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
