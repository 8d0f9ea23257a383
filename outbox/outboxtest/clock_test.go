package outboxtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
	"github.com/strunk-go/strunk/schedule"
)

var letters = queue.Define[string]("letters", queue.Config{Retry: queue.Backoff{First: 10 * time.Hour, Jitter: 0}})

// TestAdvance turns the clock while a program runs: what waits for a time does not wait for it.
func TestAdvance(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	put(t, box, "later", queue.Delay(24*time.Hour))
	put(t, box, "fails")
	first := put(t, box, "once", queue.Dedup("key", queue.ForPeriod(time.Hour)))
	if _, err := schedule.Register(t.Context(), box, "daily", letters, "daily", "every 1d"); err != nil {
		t.Fatal(err)
	}
	handle := func(_ context.Context, task queue.Task[string]) error {
		if task.Payload == "fails" && task.Attempt == 1 {
			return errors.New("on purpose")
		}
		return nil
	}
	testkit.Run(t, func(ctx context.Context) error {
		return box.Run(ctx, letters.Worker(handle), schedule.Runner())
	})
	reach(t, pool, "fails scheduled, later scheduled, once delivered")

	outboxtest.Advance(t, box, time.Hour)
	if again := put(t, box, "once", queue.Dedup("key", queue.ForPeriod(time.Hour))); again == first {
		t.Error("the dedup key is held after its period")
	}
	outboxtest.Advance(t, box, 23*time.Hour)
	reach(t, pool, "daily delivered, fails delivered, later delivered, once delivered, once delivered")
}

// TestAdvanceReachesAllTimes asks everything that reads the clock in its own way.
func TestAdvanceReachesAllTimes(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	outboxtest.Advance(t, box, 48*time.Hour)
	put(t, box, "new", queue.Delay(time.Hour))
	entry, err := schedule.Register(t.Context(), box, "daily", letters, "daily", "every 1d")
	if err != nil {
		t.Fatal(err)
	}
	ahead := map[string]time.Time{"a schedule's due time": entry.NextDue.Add(-24 * time.Hour)}
	mark := func(ctx context.Context, tx *outbox.OwnedTx) error {
		_, err := inbox.Once(ctx, tx, "consumer", "message", func(context.Context) error { return nil })
		return err
	}
	if err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error { return mark(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	ahead["an inbox mark, by default"] = query[time.Time](t, pool, `SELECT handled_at FROM public.strunk_inbox`)
	ahead["a task's creation"] = query[time.Time](t, pool, `SELECT created_at FROM public.strunk_outbox`)
	ahead["a task's due time"] = query[time.Time](t, pool, `SELECT due_at - interval '1 hour'
		FROM public.strunk_outbox`)
	real := query[time.Time](t, pool, `SELECT clock_timestamp()`)
	for what, at := range ahead {
		if by := at.Sub(real); by < 47*time.Hour || by > 49*time.Hour {
			t.Errorf("%s is ahead by %v; want two days", what, by)
		}
	}
	queuetest.Drain(t, box, letters.Worker(func(context.Context, queue.Task[string]) error { return nil }))
	reach(t, pool, "new scheduled") // it is not due for an hour by the turned clock
	outboxtest.Advance(t, box, time.Hour)
	queuetest.Drain(t, box, letters.Worker(func(context.Context, queue.Task[string]) error { return nil }))
	reach(t, pool, "new delivered")
}

// TestAdvanceIsRefused keeps the clock of a database that outboxtest has not made, and one that would go back.
func TestAdvanceIsRefused(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	cfg := pool.Config().Copy()
	cfg.ConnConfig.Database = "postgres"
	elsewhere, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	if err := outbox.Migrate(t.Context(), elsewhere, outbox.MigrateConfig{Schema: "strunk_clock_test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dropSchema(t, cfg.ConnConfig) })
	real, err := outbox.Open(t.Context(), elsewhere, outbox.Config{Schema: "strunk_clock_test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		box  *outbox.Box
		by   time.Duration
		want string
	}{
		{"no box", nil, time.Hour, "the box is nil"},
		{"back", box, -time.Hour, "-1h0m0s is not more than zero"},
		{"not at all", box, 0, "0s is not more than zero"},
		{"a real database", real, time.Hour, "only the clock of a database that New or Empty has made"},
	} {
		if got := fatal(t, func(t testing.TB) { outboxtest.Advance(t, c.box, c.by) }); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}

func dropSchema(t *testing.T, cfg *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err == nil {
		_, err = conn.Exec(context.Background(), "DROP SCHEMA strunk_clock_test CASCADE")
		err = errors.Join(err, conn.Close(context.Background()))
	}
	if err != nil {
		t.Error(err)
	}
}

// recorder is a test whose end by Fatalf is kept.
type recorder struct {
	testing.TB
	text string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatal returns what fn ends its test with.
func fatal(t *testing.T, fn func(t testing.TB)) string {
	r := &recorder{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fn(r)
	}()
	<-ended
	return r.text
}

func openBox(t *testing.T, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func put(t *testing.T, box *outbox.Box, payload string, opts ...queue.EnqueueOption) (id int64) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		done, err := letters.Enqueue(t.Context(), tx, payload, opts...)
		id = done.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// reach waits until the tasks are these, each with its status.
func reach(t *testing.T, pool *pgxpool.Pool, want string) {
	t.Helper()
	testkit.EventuallyState(t, "the tasks are: "+want, func() (string, bool) {
		got := query[string](t, pool, `SELECT string_agg((payload #>> '{}') || ' ' || status, ', '
			ORDER BY payload #>> '{}') FROM public.strunk_outbox`)
		return got, got == want
	})
}
