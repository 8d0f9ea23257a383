package outbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// footprint is what a process has open: in the database of a test, and in its system where that can say so.
type footprint struct{ sessions, files, children, goroutines int }

// within says that there is nothing more than in another footprint.
func (f footprint) within(other footprint) bool {
	return f.sessions <= other.sessions && f.files <= other.files && f.children <= other.children &&
		f.goroutines <= other.goroutines
}

func takeFootprint(t *testing.T, watcher *pgxpool.Conn) footprint {
	t.Helper()
	f := footprint{goroutines: runtime.NumGoroutine()}
	if err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend'`).Scan(&f.sessions); err != nil {
		t.Fatal(err)
	}
	files, _ := os.ReadDir("/proc/self/fd") // elsewhere there are none
	f.files = len(files)
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		f.children += len(strings.Fields(string(pids)))
	}
	return f
}

// When Run has returned and the pool is closed, the process has no more sessions, files, children and goroutines than
// before: workers, a subscriber, schedules and all loops were at work, over connections that were all cut once, too.
// It has the process for itself: no t.Parallel.
func TestRunLeavesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector closes what nobody has closed
	database := outboxtest.New(t)
	watcher, err := database.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Release()
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%v", cut), func(t *testing.T) {
			before := takeFootprint(t, watcher)
			pool, err := pgxpool.New(t.Context(), outboxtest.DSN(database))
			if err != nil {
				t.Fatal(err)
			}
			work := startAllKinds(t, openBox(t, pool, outbox.Config{}))
			if cut {
				mustExec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid <> $1
					AND pid <> pg_backend_pid() AND datname = current_database()`, watcher.Conn().PgConn().PID())
			}
			work.awaitAllKinds(t)
			during := takeFootprint(t, watcher)
			if during.within(before) {
				t.Errorf("at work it has %+v, before %+v; want more", during, before)
			}
			work.stop()
			testkit.Eventually(t, "Run has given back the pool's connections", func() bool {
				return pool.Stat().AcquiredConns() == 0
			})
			pool.Close()
			var after footprint
			defer func() { t.Logf("before %+v, at work %+v, after %+v", before, during, after) }()
			testkit.Eventually(t, "it has no more than before", func() bool {
				after = takeFootprint(t, watcher)
				return after.within(before)
			})
		})
	}
}

// allKinds is a Run with a binding of every kind, and how often each has been called.
type allKinds struct {
	box                *outbox.Box
	tasks, states, due atomic.Int64
	stop               func()
}

var (
	traceTasks  = queue.Define[string]("trace-tasks", queue.Config{})
	traceDue    = queue.Define[string]("trace-due", queue.Config{})
	traceStates = events.Define("trace-states", func(s string) string { return s }, events.Config{})
)

func startAllKinds(t *testing.T, box *outbox.Box) *allKinds {
	t.Helper()
	if _, err := schedule.Register(t.Context(), box, "trace", traceDue, "again", "every 100ms"); err != nil {
		t.Fatal(err)
	}
	w := &allKinds{box: box}
	counts := func(called *atomic.Int64) func(context.Context, queue.Task[string]) error {
		return func(context.Context, queue.Task[string]) error { called.Add(1); return nil }
	}
	w.stop = start(t, box, schedule.Runner(), traceTasks.Worker(counts(&w.tasks)), traceDue.Worker(counts(&w.due)),
		traceStates.Subscriber("trace", func(context.Context, events.Event[string]) error {
			w.states.Add(1)
			return nil
		}))
	w.awaitAllKinds(t)
	return w
}

// awaitAllKinds waits until each kind has been called once more.
func (w *allKinds) awaitAllKinds(t *testing.T) {
	t.Helper()
	tasks, states, due := w.tasks.Load(), w.states.Load(), w.due.Load()
	testkit.Eventually(t, "a task and an event are committed", func() bool {
		return w.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error { // its connection may have been cut
			if _, err := traceTasks.Enqueue(t.Context(), tx, "now"); err != nil {
				return err
			}
			_, err := traceStates.Publish(t.Context(), tx, "now")
			return err
		}) == nil
	})
	testkit.EventuallyState(t, "each kind was called", func() (string, bool) {
		return fmt.Sprintf("tasks %d, states %d, due %d", w.tasks.Load(), w.states.Load(), w.due.Load()),
			w.tasks.Load() > tasks && w.states.Load() > states && w.due.Load() > due
	})
}
