package queue

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
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
	ear, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig.Copy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ear.Close(context.Background()) }()
	if _, err := ear.Exec(ctx, `LISTEN "strunk:public"`); err != nil {
		t.Fatal(err)
	}
	// heard returns the topics announced since the last call.
	heard := func() (topics []string) {
		if _, err := pool.Exec(ctx, `SELECT pg_notify('strunk:public', 'end')`); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := ear.WaitForNotification(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == "end" {
				return topics
			}
			topics = append(topics, n.Payload)
		}
	}
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
					w.alert.last, w.pauses.last = time.Now().Add(-awakeFor), time.Hour
					w.stayAlert(ctx, 0)
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

// awakeWorker returns the claimer of a worker whose lease row says that it is awake.
func awakeWorker(t *testing.T, box *outbox.Box, queue string) *claimer {
	t.Helper()
	ctx := t.Context()
	s, err := newSession(newWorker(newDefinition(queue, Config{}), nil, nil), core.Life{Soft: ctx, Hard: ctx, End: ctx},
		modelRuntime{core.BoxHost(box)}, time.Second, newClaimSize())
	if err != nil {
		t.Fatal(err)
	}
	a := &s.claimer.alert
	a.window, a.before = time.Now(), busyTasks
	if s.claimer.stayAlert(ctx, busyTasks); !a.noted {
		t.Fatal("the worker did not wake up")
	}
	return s.claimer
}

// requireGrowingPauses checks the pauses of a worker that has just fallen asleep: a commit at any time after that is
// found after at most as long again, or firstPause.
func requireGrowingPauses(t *testing.T, w *claimer) {
	t.Helper()
	if w.alert.noted {
		t.Fatal("the worker did not fall asleep")
	}
	for since := time.Duration(0); since < time.Hour; {
		pause := w.alert.pause(w.pauses.take(time.Hour))
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
	if !asleep() {
		t.Error("a queue without workers may not sleep: its first worker may have looked already")
	}
	one, other := awakeWorker(t, box, "two"), awakeWorker(t, box, "two")
	if asleep() {
		t.Error("both workers are awake, and are notified")
	}
	other.alert.last = time.Now().Add(-awakeFor)
	if other.stayAlert(t.Context(), 0); !asleep() {
		t.Error("one worker is asleep, and is not notified")
	}
	one.alert.last = time.Now().Add(-awakeFor)
	if one.stayAlert(t.Context(), 0); !asleep() {
		t.Error("both workers are asleep, and are not notified")
	}
}

// A worker is awake while many tasks come, sleeps when they end, and says so again where it may have been forgotten.
func TestAlertness(t *testing.T) {
	t.Parallel()
	var a alertness
	at := time.Now()
	step := func(tasks int, after time.Duration, want bool) {
		t.Helper()
		at = at.Add(after)
		a.sees(tasks, at)
		got := a.awake(at)
		if got != want {
			t.Errorf("%d tasks after %v: awake: %v; want %v", tasks, after, got, want)
		}
		a.notes(got)
	}
	step(1000, 0, false) // one batch does not wake it
	step(busyTasks-1, 2*busyWindow, false)
	step(busyTasks, busyWindow, false)
	step(busyTasks-1, busyWindow, false)
	step(1, time.Millisecond, true)
	step(0, awakeFor-time.Millisecond, true)
	step(0, time.Millisecond, false)
	if a.doubt(); a.awake(at) || !a.noted {
		t.Error("after a break the row is not written again")
	}
	if p := a.pause(time.Second); p != awakePause {
		t.Errorf("while the row may say awake the pause is %v; want %v", p, awakePause)
	}
	if a.notes(false); a.pause(time.Second) != time.Second {
		t.Error("a worker that is asleep does not wait as long as it is told to")
	}
	var never alertness
	if never.doubt(); never.noted {
		t.Error("a worker that was never awake writes after a break")
	}
}
