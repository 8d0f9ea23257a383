package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

var ticks = events.Define("tick", func(n int) string { return "one" }, events.Config{})

// TestMissingPartitionsAreMended drops and detaches, as an operator may, the partitions that tasks
// and events go to. Tasks are completed and events relayed, what was detached is there again, and
// Check finds nothing.
func TestMissingPartitionsAreMended(t *testing.T) {
	t.Parallel()
	const (
		dropIt     = `DROP TABLE public.%[2]s`
		detach     = `ALTER TABLE public.%[1]s DETACH PARTITION public.%[2]s`
		noRecord   = `DELETE FROM public.strunk_feed_partitions WHERE name = '%[2]s'`
		concurrent = detach + ` CONCURRENTLY`
	)
	for _, c := range []struct {
		name, why  string
		statements []string
		cut, lost  bool
	}{
		{"dropped", "its rows are lost, and no others", []string{dropIt}, false, true},
		{"dropped with its record", "nothing says what it held", []string{dropIt, noRecord}, false, true},
		{"detached", "nothing is lost", []string{detach}, false, false},
		{"detached concurrently", "PostgreSQL partitions a constraint on it", []string{concurrent}, false, false},
		{"half detached", "an open report has cut the detaching off", []string{concurrent}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newMending(t)
			b.one(1)
			for _, p := range b.partitions() {
				for _, statement := range c.statements {
					if c.cut {
						b.cutOff(p, fmt.Sprintf(statement, p.parent, p.name))
					} else {
						b.exec(fmt.Sprintf(statement, p.parent, p.name))
					}
				}
			}
			b.one(2)
			want := 2
			if c.lost {
				want = 1
			}
			for _, kind := range []string{"task", "event"} {
				if n := query[int](t, b.pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
					AND kind = $1`, kind); n != want {
					t.Errorf("%d delivered rows of kind %s; want %d: %s", n, kind, want, c.why)
				}
			}
			if found, err := outbox.Check(t.Context(), b.pool, outbox.MigrateConfig{}); err != nil || len(found) > 0 {
				t.Errorf("Check: %v, %v", found, err)
			}
		})
	}
}

// TestDetachedDayIsAttachedAgain detaches a day that is kept, which no task goes to any more, and
// makes a table that cannot be attached.
func TestDetachedDayIsAttachedAgain(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	day, other := oldDay(t, pool, 1, 10, "jobs"), oldDay(t, pool, 2, 10, "jobs")
	for _, name := range []string{day, other} {
		mustExec(t, pool, `ALTER TABLE public.strunk_outbox_delivered_tasks DETACH PARTITION public.`+name)
	}
	mustExec(t, pool, `ALTER TABLE public.`+other+` ALTER finished_at DROP NOT NULL`)
	box := openBox(t, pool, outbox.Config{Retention: outbox.Retention{Tasks: 7 * 24 * time.Hour,
		Every: 50 * time.Millisecond}})
	start(t, box)
	testkit.Eventually(t, "the day is attached again", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'`) == 10
	})
	testkit.Eventually(t, "the record of the reaper names the other with what to do", func() bool {
		return query[bool](t, pool, `SELECT count(*) = 1 FROM public.strunk_loops WHERE loop = 'reaper'
			AND last_error LIKE '%' || $1 || ' cannot be made a partition%'`, other)
	})
}

// mending is a database in which tasks and events come, one at a time.
type mending struct {
	t    *testing.T
	pool *pgxpool.Pool
	box  *outbox.Box
	done chan int
	seen chan int
	stop func()
}

func newMending(t *testing.T) *mending {
	t.Helper()
	return mendingOn(t, outboxtest.New(t))
}

func mendingOn(t *testing.T, pool *pgxpool.Pool) *mending {
	t.Helper()
	b := &mending{t: t, pool: pool, done: make(chan int, 10), seen: make(chan int, 10)}
	b.run()
	return b
}

// run runs a worker and a subscriber.
func (b *mending) run() {
	b.t.Helper()
	b.box = openBox(b.t, b.pool, outbox.Config{})
	b.stop = start(b.t, b.box, jobs.Worker(func(_ context.Context, task queue.Task[job]) error {
		b.done <- task.Payload.N
		return nil
	}), ticks.Subscriber("watcher", func(_ context.Context, e events.Event[int]) error {
		b.seen <- e.State
		return nil
	}))
}

// one enqueues a task and publishes an event, and waits until both are handled and stored.
func (b *mending) one(n int) {
	b.t.Helper()
	if err := b.box.InTx(b.t.Context(), func(tx *outbox.OwnedTx) error {
		if _, err := jobs.Enqueue(b.t.Context(), tx, job{n}); err != nil {
			return err
		}
		_, err := ticks.Publish(b.t.Context(), tx, n)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	b.handled(n)
}

// handled waits until task n and event n are handled and stored.
func (b *mending) handled(n int) {
	b.t.Helper()
	for name, c := range map[string]chan int{"task": b.done, "event": b.seen} {
		select {
		case got := <-c:
			if got != n {
				b.t.Errorf("%s %d was handled; want %d", name, got, n)
			}
		case <-time.After(soon):
			b.t.Fatalf("%s %d was not handled within %v", name, n, soon)
		}
	}
	testkit.Eventually(b.t, "the task is stored as delivered, and the cursor behind its event", func() bool {
		return query[bool](b.t, b.pool, `SELECT EXISTS (SELECT 1 FROM public.strunk_outbox WHERE status = 'delivered'
			AND kind = 'task' AND (payload ->> 'N')::integer = $1)
			AND (SELECT cursor = (SELECT head FROM public.strunk_feed ORDER BY slot DESC LIMIT 1)
				FROM public.strunk_subscribers)`, n)
	})
}

// exec runs an operator's statement. The maintenance may mend a partition while a concurrent detaching waits
// between its two halves: the second half then says that its partition is none any more, or is not being detached.
func (b *mending) exec(statement string) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), statement)
	mended := []string{pgerrcode.ObjectNotInPrerequisiteState}
	if strings.HasSuffix(statement, "CONCURRENTLY") {
		mended = append(mended, pgerrcode.UndefinedTable)
	}
	if err != nil && !slices.Contains(mended, core.SQLState(err)) {
		b.t.Fatalf("%s: %v", statement, err)
	}
}

type partition struct{ parent, name string }

// partitions names those that the next task and the next event go to.
func (b *mending) partitions() []partition {
	const tasks, feed = "strunk_outbox_delivered_tasks", "strunk_outbox_delivered_events"
	return []partition{
		{tasks, tasks + query[string](b.t, b.pool,
			`SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', '_YYYYMMDD')`)},
		{feed, query[string](b.t, b.pool, `SELECT name FROM public.strunk_feed_partitions ORDER BY first LIMIT 1`)},
	}
}

// cutOff runs a statement that waits for an open report, and ends it.
func (b *mending) cutOff(p partition, statement string) {
	b.t.Helper()
	report, err := b.pool.BeginTx(b.t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		b.t.Fatal(err)
	}
	defer report.Rollback(context.Background()) //nolint:errcheck // it only reads
	if _, err := report.Exec(b.t.Context(), `SELECT count(*) FROM public.`+p.parent); err != nil {
		b.t.Fatal(err)
	}
	conn, err := b.pool.Acquire(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Release()
	cut := make(chan error, 1)
	go func() {
		_, err := conn.Exec(b.t.Context(), statement)
		cut <- err
	}()
	testkit.Eventually(b.t, "the detaching is begun", func() bool {
		return query[bool](b.t, b.pool, `SELECT count(*) = 1 FROM pg_inherits WHERE inhdetachpending
			AND inhrelid = $1::text::regclass`, "public."+p.name)
	})
	mustExec(b.t, b.pool, `SELECT pg_cancel_backend($1)`, conn.Conn().PgConn().PID())
	if err := <-cut; err == nil {
		b.t.Fatalf("%s ended in spite of the open report", statement)
	}
}
