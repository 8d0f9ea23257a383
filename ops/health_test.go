package ops_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// Each thing that can be wrong is made wrong by hand, alone, on a database where all loops have just run.
func TestHealthSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason, sql string
		check             string
		status            ops.Status
		says              string
	}{
		{"fresh", "nothing is wrong", `SELECT 1`, "", ops.StatusOK, ""},
		{"relay", "an event lies there", `SELECT public.strunk_publish('order', '1', '{}');
			UPDATE public.strunk_outbox_events SET created_at = now() - interval '2 min'`,
			ops.CheckRelay, ops.StatusFail, `waited for the relay for 2m\d+s`},
		{"relay of a late commit", "its seq is below the highest " +
			"seen", `SELECT public.strunk_publish('order', '1', '{}'); UPDATE public.strunk_outbox_events
				SET created_at = now() - interval '2 min';
			UPDATE public.strunk_feed SET high = 100,
			missing = '{[1,2)}'`, ops.CheckRelay, ops.StatusFail, `waited for the relay for 2m\d+s`},
		{"promoter", "a due task lies there", `SELECT public.strunk_enqueue('a', '{}', delay => '1 hour');
			UPDATE public.strunk_outbox_tasks SET due_at = now() - interval '3 min'`,
			ops.CheckPromoter, ops.StatusFail, "overdue by 3m"},
		{"rescue", "a dead worker's tasks lie " +
			"there", `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host, heartbeat_at)
			VALUES (1, 30000, 1, 1, 'a', 'h', now() -
			interval '10 min')`, ops.CheckRescue, ops.StatusFail, `silent for 9m[3-5]\ds`},
		{"scheduler", "a schedule is late", `SELECT public.strunk_schedule_put('daily', 'a', 'every 1d', 'UTC',
			now() - interval '5 min', 'skip', 1, '{}', NULL, NULL, 0::smallint, 12::smallint, NULL, false)`,
			ops.CheckScheduler, ops.StatusFail, "late by 5m"},
		{"no scheduler", "nobody runs it, though nothing is late " +
			"yet", `SELECT public.strunk_schedule_put('daily', 'a', 'every 1d', 'UTC', now() + interval '5 min',
				'skip', 1, '{}', NULL, NULL, 0::smallint, 12::smallint, NULL, false);
			DELETE FROM public.strunk_loops WHERE loop = 'scheduler'`, ops.CheckScheduler, ops.StatusWarn, "never run"},
		{"stopped loop", "the record is old", `UPDATE public.strunk_loops SET last_ok_at = now() -
			interval '1 day' WHERE loop = 'relay'`,
			ops.CheckRelay, ops.StatusWarn, "last ran 24h"},
		{"failing loop", "the record says why", `UPDATE public.strunk_loops SET last_ok_at = now() -
			interval '1 day', last_error_at = now(), last_error = 'disk full' WHERE loop = 'reaper'`,
			ops.CheckReaper, ops.StatusWarn, "disk full"},
		{"old counts", "who looks must know", `UPDATE public.strunk_count_passes SET counted_at = now() -
			interval '20 min'; INSERT INTO public.strunk_loops (loop, interval_ms, last_ok_at, last_error_at,
			last_error) VALUES ('counter', 15000, now() - interval '20 min', now(), 'it takes too long')`,
			ops.CheckCounter, ops.StatusWarn, "^large numbers are 20m.*it takes too long"},
		{"no counts", "nor is nothing a number", `DELETE FROM public.strunk_count_passes`, ops.CheckCounter,
			ops.StatusWarn, "^nobody has counted yet"},
		{"no workers", "tasks wait for nobody", `SELECT public.strunk_enqueue('a', '{}');
			UPDATE public.strunk_outbox_tasks SET created_at = now() - interval '6 min'`,
			ops.CheckWorkers, ops.StatusFail, `"a" \(6m\d+s\)`},
		{"slow workers", "tasks wait for somebody", `INSERT INTO public.strunk_workers (id, lease_ms, pid,
			concurrency, queue, host) VALUES (1, 30000, 1, 1, 'a', 'h');
			SELECT public.strunk_enqueue('a', '{}'); UPDATE public.strunk_outbox_tasks SET created_at = now() -
			interval '6 min'`,
			ops.CheckQueues, ops.StatusFail, `"a" \(6m\d+s\)`},
		{"paused", "as it was told to", `SELECT public.strunk_pause_queue('a'), public.strunk_enqueue('a',
			'{}'); UPDATE public.strunk_outbox_tasks SET created_at = now() - interval '6 min'`,
			ops.CheckQueues, ops.StatusWarn, `"a" \(6m\d+s, paused by [^:]+\)$`},
		{"paused for a reason", "it says which", `SELECT public.strunk_pause_queue('a', 'no paper', 'ann'),
			public.strunk_enqueue('a', '{}'); UPDATE public.strunk_outbox_tasks SET created_at = now() -
			interval '6 min'`, ops.CheckQueues, ops.StatusWarn, `"a" \(6m\d+s, paused by ann: no paper\)$`},
		{"all paused", "whether or not something waits", `SELECT public.strunk_pause_all('upgrade', 'ann')`,
			ops.CheckQueues, ops.StatusWarn, "^all queues are paused since .* by ann: upgrade; "},
		{"subscriber", "it is behind", `SELECT public.strunk_register('indexer', 'order', 'beginning', 30000);
			INSERT INTO public.strunk_outbox_delivered_events (id, seq, position, version, created_at, status,
			kind, key, entity_id)
			VALUES (1, 1, 1, 1, now() - interval '7 min', 'delivered', 'event', 'order', '1');
			UPDATE public.strunk_feed SET head = 1; SELECT public.strunk_ensure_feed_partitions()`,
			ops.CheckSubscribers, ops.StatusFail, `"indexer" \(7m\d+s\)`},
		{"dropped", "it lost events", `SELECT public.strunk_register('indexer', 'order', 'beginning', 30000);
			UPDATE public.strunk_subscribers SET needs_restart = true`,
			ops.CheckSubscribers, ops.StatusFail, "replay or reset"},
		{"set aside", "the outcome could not be stored", `INSERT INTO public.strunk_outbox_dead (id, seq, created_at,
			finished_at, status, kind, key, isolated) SELECT i, i, now(), now(), 'dead', 'task', 'a', i > 5
			FROM generate_series(1, 7) i`, ops.CheckOutcomes, ops.StatusWarn, `"a" \(2, the latest is task 7\)`},
		{"no partition", "nothing can be completed", `DO $$ BEGIN EXECUTE format('DROP TABLE public.%I',
			'strunk_outbox_delivered_tasks_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$`,
			ops.CheckPartitions, ops.StatusFail, "today's partition"},
		{"no partition ahead", "the feed will stall", `UPDATE public.strunk_feed
			SET head = 1000000000`, ops.CheckPartitions, ops.StatusWarn, "partition ahead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			box, pool := open(t)
			exec(t, pool, `INSERT INTO public.strunk_loops (loop, interval_ms, last_ok_at, last_process) SELECT l,
				60000, now(), 'h/1' FROM unnest('{relay,promoter,rescue,reaper,scheduler}'::text[]) l`)
			exec(t, pool, `INSERT INTO public.strunk_count_passes (counted_at) VALUES (now())
				ON CONFLICT (one) DO UPDATE SET counted_at = excluded.counted_at`)
			exec(t, pool, c.sql)
			r, err := ops.Health(t.Context(), box, ops.Thresholds{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != c.status {
				t.Errorf("(%s) status %s: %+v", c.reason, r.Status, r)
			}
			if c.check != "" && (r.Check(c.check).Status != c.status ||
				!regexp.MustCompile(c.says).MatchString(r.Check(c.check).Message)) {
				t.Errorf("(%s) %+v", c.reason, r.Check(c.check))
			}
			for _, other := range r.Checks {
				blamed := c.check == ops.CheckWorkers && other.Name == ops.CheckQueues
				if other.Name != c.check && other.Status != ops.StatusOK && !blamed {
					t.Errorf("(%s) %+v is blamed too", c.reason, other)
				}
			}
		})
	}
}

// A report that has been open for long is named, and so is one that waits to be committed elsewhere.
func TestHealthNamesWhoHoldsBackTheHorizon(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{`SET
		application_name = 'monthly report'`, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT 1`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _, _ = conn.Exec(context.Background(), `ROLLBACK; RESET application_name`) }()
	until(t, "it has been open for long enough", func() bool {
		r, err := ops.Health(t.Context(), box, ops.Thresholds{Horizon: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		c := r.Check(ops.CheckHorizon)
		return c.Status == ops.StatusWarn && strings.Contains(c.Message, `session "monthly report" (pid `)
	})
}

// With the loops of a Run there is nothing to complain of.
func TestHealthOfARunningBox(t *testing.T) {
	t.Parallel()
	box, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()
	until(t, "all loops have reported", func() bool {
		r, err := ops.Health(t.Context(), box, ops.Thresholds{})
		return err == nil && r.Status == ops.StatusOK
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestThresholdsAreChecked(t *testing.T) {
	t.Parallel()
	box, _ := open(t)
	if _, err := ops.Health(t.Context(), box, ops.Thresholds{NotifyUsage: 2}); err == nil {
		t.Error("a usage of 2 is accepted")
	}
	if err := ops.Ready(t.Context(), (*outbox.Box)(nil)); err == nil {
		t.Error("a nil box is ready")
	}
}
