package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// All that strunk writes it writes in transactions that say so, whatever the database's default is.
func TestDefaultReadOnly(t *testing.T) {
	t.Parallel()
	empty := outboxtest.Empty(t)
	var database string
	noError(t, empty.QueryRow(t.Context(), `SELECT current_database()`).Scan(&database))
	_, err := empty.Exec(t.Context(), `ALTER DATABASE `+database+` SET default_transaction_read_only = on`)
	noError(t, err)
	pool := dial(t, outboxtest.DSN(empty))
	noError(t, outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}))
	b := bedOn(t, pool, outbox.Config{})
	if on := value[string](b, `SHOW default_transaction_read_only`); on != "on" {
		t.Fatalf("the default is %q", on)
	}
	if found, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{}); err != nil || len(found) > 0 {
		t.Errorf("Check: %v, %v", found, err)
	}
	q := queue.DefineWithResult[note, string]("read-only", queue.Config{Retry: atOnce})
	numbers := events.Define("number", func(int) string { return "one" }, events.Config{})
	if _, err := schedule.Register(t.Context(), b.box, "tick", q.Queue, note{"tick"}, "every 1s"); err != nil {
		t.Fatal(err)
	}

	// By hand, while nothing runs.
	noError(t, q.SetLimits(t.Context(), b.box, queue.Limits{Running: 5, RunningPerKey: 1}))
	noError(t, errors.Join(q.Pause(t.Context(), b.box, ""), q.Resume(t.Context(), b.box)))
	put(b, q.Queue, note{"by hand"}, queue.CustomerKey("k"))
	put(b, q.Queue, note{"given back"})
	claim, err := q.Claim(t.Context(), b.box, 2)
	noError(t, err)
	noError(t, errors.Join(claim.Heartbeat(t.Context()), claim.Report(t.Context(), claim.Tasks[0].ID, 50, "half"),
		claim.Complete(t.Context(), claim.Tasks[0].ID, "done"), claim.Release(t.Context())))
	cancelled := put(b, q.Queue, note{"cancelled"})
	if _, err := q.Cancel(t.Context(), b.box, cancelled, "no"); err != nil {
		t.Error(err)
	}
	for _, filter := range []outbox.DeadFilter{{Status: "cancelled"}, {IDs: []int64{cancelled}}} {
		if _, err := queue.RetryDead(t.Context(), b.box, filter); err != nil {
			t.Error(err)
		}
		if _, err := queue.PurgeDead(t.Context(), b.box, filter); err != nil {
			t.Error(err)
		}
	}

	// Everything that runs.
	fails := put(b, q.Queue, note{"fails"})
	got := make(chan struct{}, 100)
	b.run(schedule.Runner(), numbers.Subscriber("all", func(context.Context, events.Event[int]) error {
		got <- struct{}{}
		return nil
	}), q.Worker(func(ctx context.Context, task queue.Task[note]) (string, error) {
		if task.Payload.Text == "fails" && task.Attempt == 1 {
			return "", fmt.Errorf("the first attempt fails")
		}
		return "done", queue.Report(ctx, 50, "half")
	}, queue.Inbox("consumer")))
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := numbers.Publish(context.Background(), tx, 1)
		return err
	})
	receive(t, "the event", got)
	reach(b, q.Queue, fails, queue.StatusDelivered)
	reach(b, q.Queue, put(b, q.Queue, note{"later"}, queue.Delay(time.Second)), queue.StatusDelivered)
	testkit.EventuallyState(t, "the schedule has fired, and every loop has come round", func() (string, bool) {
		loops := value[string](b, `SELECT string_agg(loop, ' ' ORDER BY loop) FROM public.strunk_loops`)
		fired := value[int](b, `SELECT count(*) FROM public.strunk_schedule_runs`)
		return fmt.Sprint(loops, fired), fired > 0 && loops == "counter jobs promoter reaper relay rescue scheduler"
	})
	if log := b.logs.String(); strings.Contains(log, "read-only transaction") {
		t.Error("a statement has failed in a read-only transaction")
	}
}
