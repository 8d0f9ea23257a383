package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// clockAhead moves all that a database remembers of times an hour ahead: what a clock leaves that was
// an hour ahead until it was set right.
const clockAhead = `DO $$
	DECLARE v_column record;
	BEGIN
		FOR v_column IN
			SELECT c.relname AS table, a.attname AS name, a.atttypid = 'int8'::regtype AS us FROM pg_class c
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
				AND c.relname LIKE 'strunk%' AND c.relname <> 'strunk_migrations'
				AND (a.atttypid = 'timestamptz'::regtype OR a.attname = 'until_us')
		LOOP
			EXECUTE format('UPDATE public.%I SET %I = %2$I + %L', v_column.table, v_column.name,
				CASE WHEN v_column.us THEN '3600000000' ELSE '1 hour' END);
		END LOOP;
		UPDATE public.strunk_outbox_tasks SET created_at = created_at + interval '1 hour',
			due_at = due_at + interval '1 hour', claimed_at = claimed_at + interval '1 hour';
	END $$`

// TestClockSetBack sets the database's clock right after it was an hour ahead. What it had stored
// until then lies an hour ahead; nothing stands still for the hour.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	rated := queue.Define[note]("rated", queue.Config{Limits: queue.Limits{
		Rate: queue.Rate{Count: 20, Per: time.Second}, RatePerKey: queue.Rate{Count: 10, Per: time.Second}}})
	plain := queue.Define[note]("plain", queue.Config{})
	ticks := queue.Define[note]("ticks", queue.Config{})
	fails := errors.New("the first attempt fails")
	handle := func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "fails" && task.Attempt == 1 {
			return fails
		}
		return nil
	}
	bindings := func() []outbox.Binding {
		return []outbox.Binding{rated.Worker(handle), ticks.Worker(handle), schedule.Runner(),
			plain.Worker(handle, queue.Retry(queue.Backoff{First: time.Hour}))}
	}
	if _, err := schedule.Register(t.Context(), b.box, "tick", ticks, note{"tick"}, "every 1s"); err != nil {
		t.Fatal(err)
	}
	if _, err := schedule.Register(t.Context(), b.box, "cron", ticks, note{"cron"}, "* * * * *"); err != nil {
		t.Fatal(err)
	}
	stop := b.run(bindings()...)
	reach(b, rated, putKeys(b, rated, "k")[0], queue.StatusDelivered)
	retried := put(b, plain, note{"fails"})
	reach(b, plain, retried, queue.StatusScheduled)
	held := put(b, plain, note{"held"}, queue.Dedup("window", queue.ForPeriod(2*time.Second)))
	reach(b, plain, held, queue.StatusDelivered)
	eventually(t, "the schedule and all loops have come round", func() (string, bool) {
		loops := value[[]string](b, `SELECT array_agg(loop ORDER BY loop) FROM public.strunk_loops
			WHERE coalesce(last_ok_at, begun_at) IS NOT NULL`)
		fired := value[int](b, `SELECT count(*) FROM public.strunk_schedule_runs WHERE schedule_id = 'tick'`)
		return fmt.Sprint(loops, fired), fired > 0 && slices.Contains(loops, "scheduler") &&
			slices.Contains(loops, "promoter") && slices.Contains(loops, "reaper")
	})
	stop()
	b.exec(`UPDATE public.strunk_outbox_tasks SET due_at = claimed_at + interval '1 s' WHERE id = $1`, retried)
	b.exec(clockAhead)
	began := value[time.Time](b, `SELECT clock_timestamp()`)
	b.run(bindings()...)

	for _, id := range putKeys(b, rated, "k", "k", "other") {
		reach(b, rated, id, queue.StatusDelivered)
	}
	reach(b, plain, retried, queue.StatusDelivered)
	eventually(t, "the dedup key's period is over", func() (string, bool) {
		id := put(b, plain, note{"held"}, queue.Dedup("window", queue.ForPeriod(2*time.Second)))
		return fmt.Sprint(id), id != held
	})
	eventually(t, "the schedule fires at times of the right clock", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_schedule_runs
			WHERE schedule_id = 'tick' AND due_at > $1 AND due_at <= clock_timestamp()`, began)
		return fmt.Sprint(n), n > 0
	})
	eventually(t, "a schedule of each minute is due within one", func() (string, bool) {
		next := value[string](b, `SELECT (next_due - clock_timestamp())::text FROM public.strunk_schedules
			WHERE id = 'cron' AND next_due > clock_timestamp() + interval '61 s'
			UNION ALL SELECT '' LIMIT 1`)
		return next, next == ""
	})
	eventually(t, "every loop has come round by the right clock", func() (string, bool) {
		ahead := value[[]string](b, `SELECT coalesce(array_agg(loop), '{}') FROM public.strunk_loops
			WHERE coalesce(begun_at, last_ok_at) > clock_timestamp() + interval '5 s'`)
		return fmt.Sprint(ahead), len(ahead) == 0
	})
}
