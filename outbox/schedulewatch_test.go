package outbox_test

import (
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// Schedules that no process runs are said, and nothing is said where one does, or where nothing is overdue.
func TestSchedulesThatNobodyRunsAreSaid(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	for _, step := range []struct {
		name, reason, sql string
		said              bool
	}{
		{"none", "there is no schedule", `SELECT 1`, false},
		{"not due", "the first time is to come", `SELECT public.strunk_schedule_put('daily', 'a', 'every 1d', 'UTC',
			now() + interval '1 day', 'skip', 1, '{}', NULL, NULL, 0::smallint, 12::smallint, NULL, false)`, false},
		{"overdue", "no process has run schedule.Runner()", `UPDATE public.strunk_schedules
			SET next_due = clock_timestamp() - interval '2 hours'`, true},
		{"run", "a process runs them, and is only late", `INSERT INTO public.strunk_loops (loop, interval_ms,
			last_ok_at) VALUES ('scheduler', 1000, clock_timestamp())`, false},
		{"run once", "whoever ran them has gone", `UPDATE public.strunk_loops SET last_ok_at = clock_timestamp() -
			interval '2 hours' WHERE loop = 'scheduler'`, true},
		{"disabled", "nobody wants it run", `UPDATE public.strunk_schedules SET enabled = false`, false},
	} {
		if _, err := pool.Exec(t.Context(), step.sql); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if said, err := outbox.LookForUnrunSchedules(t.Context(), box, time.Hour); err != nil || said != step.said {
			t.Errorf("%s (%s): said %v, %v; want %v", step.name, step.reason, said, err, step.said)
		}
	}
}
