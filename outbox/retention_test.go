package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

type job struct{ N int }

var jobs = queue.Define[job]("jobs", queue.Config{})

// oldDay makes a partition of delivered tasks some days back, with rows for each of the queues, and returns its name.
func oldDay(t testing.TB, pool *pgxpool.Pool, days, rows int, queues ...string) string {
	t.Helper()
	day := query[time.Time](t, pool, `SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') -
		$1 * interval '1 day'`, days)
	name := "strunk_outbox_delivered_tasks_" + day.Format("20060102")
	mustExec(t, pool, fmt.Sprintf(`CREATE TABLE public.%s (LIKE public.strunk_outbox_delivered_tasks INCLUDING
		DEFAULTS)`, name))
	mustExec(t, pool, fmt.Sprintf(`CREATE UNIQUE INDEX %s_id ON public.%[1]s (id)`, name))
	mustExec(t, pool, fmt.Sprintf(`ALTER TABLE public.%s REPLICA IDENTITY USING INDEX %[1]s_id`, name))
	mustExec(t, pool, fmt.Sprintf(`ALTER TABLE public.strunk_outbox_delivered_tasks ATTACH PARTITION public.%s
		FOR VALUES FROM ('%s 00:00:00+00') TO ('%s 00:00:00+00')`,
		name, day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)))
	for _, q := range queues {
		mustExec(t, pool, fmt.Sprintf(`INSERT INTO public.%s (id, seq, created_at, finished_at, status, kind,
			key, payload)
			SELECT nextval('public.strunk_outbox_id_seq'), 0, $1, $1::timestamptz + interval '12 h',
			'delivered', 'task', $2, '{}' FROM generate_series(1, $3)`, name),
			day, q, rows)
	}
	return name
}

func exists(t testing.TB, pool *pgxpool.Pool, table string) bool {
	t.Helper()
	return query[bool](t, pool, `SELECT to_regclass('public.' || $1) IS NOT NULL`, table)
}

// traffic enqueues tasks as fast as they are done, publishes an event with each ten, and keeps account of them.
type traffic struct {
	enqueued, done atomic.Int64
	last           atomic.Int64 // when the last task was done, and the longest pause between two, in nanoseconds
	longest        atomic.Int64
}

func (f *traffic) start(t *testing.T, pool *pgxpool.Pool) (stop func()) {
	box := openBox(t, pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopReaper}})
	f.last.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if f.enqueued.Load()-f.done.Load() > 100 {
				time.Sleep(time.Millisecond)
				continue
			}
			err := box.InTx(context.WithoutCancel(ctx), func(tx *outbox.OwnedTx) error {
				if _, err := orders.Publish(context.WithoutCancel(ctx), tx, order{ID: "1"}); err != nil {
					return err
				}
				_, err := jobs.EnqueueBatch(context.WithoutCancel(ctx), tx, make([]job, 10))
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			f.enqueued.Add(10)
		}
	}()
	stopRun := start(t, box, jobs.Worker(func(context.Context, queue.Task[job]) error {
		f.done.Add(1)
		now := time.Now().UnixNano()
		pause := now - f.last.Swap(now)
		for most := f.longest.Load(); pause > most && !f.longest.CompareAndSwap(most, pause); most = f.longest.Load() {
		}
		return nil
	}))
	return func() {
		cancel()
		<-ended
		testkit.Eventually(t, "all tasks are done", func() bool {
			return query[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
				AND key = 'jobs'`) == f.enqueued.Load()
		})
		testkit.Eventually(t, "all events are in the feed", func() bool {
			return query[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
				AND kind = 'event'`) == f.enqueued.Load()/10
		})
		stopRun()
	}
}

// TestRetentionDropsPartitionsUnderLoad holds old partitions by an open report while the reaper
// wants them gone and tasks flow: nothing waits for the report but the reaper, what it has begun is
// finished once the report ends, and nothing else is missing.
func TestRetentionDropsPartitionsUnderLoad(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t, outboxtest.MaxConns(30))
	var old []string
	for _, days := range []int{10, 9, 8} {
		old = append(old, oldDay(t, pool, days, 1000, "old"))
	}
	var flow traffic
	stopTraffic := flow.start(t, pool)

	report, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(t.Context())) }()
	var n int
	if err := report.QueryRow(t.Context(), `SELECT count(*) FROM public.strunk_outbox
		WHERE key = 'old'`).Scan(&n); err != nil || n != 3000 {
		t.Fatalf("the report counts %d, %v", n, err)
	}

	box := openBox(t, pool, outbox.Config{Retention: outbox.Retention{Every: 300 * time.Millisecond}})
	stopReaper := start(t, box)
	pending := func() int {
		return query[int](t, pool, `SELECT count(*) FROM pg_catalog.pg_inherits WHERE inhdetachpending`)
	}
	testkit.Eventually(t, "a detaching is interrupted, and on record", func() bool {
		checkNobodyWaits(t, pool)
		return pending() == 1 && strings.Contains(reaperStatus(t, box).LastError, "left for the next run")
	})
	before := flow.done.Load()
	testkit.Eventually(t, "tasks flow on beside it", func() bool {
		checkNobodyWaits(t, pool)
		return flow.done.Load() > before+1000
	})
	if err := report.QueryRow(t.Context(), `SELECT count(*) FROM public.strunk_outbox
		WHERE key = 'old'`).Scan(&n); err != nil || n != 3000 {
		t.Errorf("the report now counts %d, %v: its snapshot lost rows", n, err)
	}
	if left := left(t, pool, old); len(left) != 3 {
		t.Errorf("left under the report: %v; want all", left)
	}
	if err := report.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the next runs finish the detaching and drop all three days",
		func() bool { return len(left(t, pool, old)) == 0 })
	testkit.Eventually(t, "the reaper is well again", func() bool {
		return reaperStatus(t,
			box).LastOK.After(reaperStatus(t, box).LastErrorAt)
	})
	stopReaper()
	stopTraffic()
	t.Logf("%d tasks, the longest pause between two was %v", flow.done.Load(),
		time.Duration(flow.longest.Load()).Round(time.Millisecond))
}

// tooLong is a wait for a table that no pause of the machine explains: the reaper gives way sooner by
// far, and the report stays open.
const tooLong = 30 * time.Second

// checkNobodyWaits wants nobody but the reaper to wait for a table as long as the report is open.
func checkNobodyWaits(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	waiting := query[string](t, pool, `SELECT coalesce(string_agg(a.query, '; '), '') FROM pg_catalog.pg_locks l
		JOIN pg_catalog.pg_stat_activity a USING (pid)
		WHERE NOT l.granted AND l.locktype = 'relation' AND a.datname = current_database() AND a.query
		NOT LIKE 'ALTER TABLE %DETACH PARTITION%'
		AND l.waitstart < clock_timestamp() - $1 * interval '1 ms'`, tooLong.Milliseconds())
	if waiting != "" {
		t.Fatalf("waiting beside the report: %s", waiting)
	}
}

func left(t testing.TB, pool *pgxpool.Pool, tables []string) (left []string) {
	t.Helper()
	for _, table := range tables {
		if exists(t, pool, table) {
			left = append(left, table)
		}
	}
	return left
}

func reaperStatus(t testing.TB, box *outbox.Box) outbox.LoopStatus {
	t.Helper()
	all, err := box.Loops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Loop == string(outbox.LoopReaper) {
			return s
		}
	}
	return outbox.LoopStatus{}
}

// TestDropWaitsForReaders holds a partition that is detached already: DROP gives way within its lock timeout.
func TestDropWaitsForReaders(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	name := oldDay(t, pool, 10, 10, "old")
	mustExec(t, pool, `ALTER TABLE public.strunk_outbox_delivered_tasks DETACH PARTITION public.`+name)
	report, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := report.Exec(t.Context(), `SELECT 1 FROM public.`+name); err != nil {
		t.Fatal(err)
	}
	box := openBox(t, pool, outbox.Config{Retention: outbox.Retention{Every: 100 * time.Millisecond}})
	start(t, box)
	testkit.EventuallyState(t, "the reaper gives way", func() (string, bool) {
		said := reaperStatus(t, box).LastError
		return said, strings.Contains(said, "dropping "+name)
	})
	if err := report.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the partition is dropped", func() bool { return !exists(t, pool, name) })
}

// TestRetentionByQueue keeps days for the queue that keeps longest, and rids them of the others' tasks.
func TestRetentionByQueue(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	gone, kept, young := oldDay(t, pool, 9, 20, "long", "short"), oldDay(t, pool, 4, 5000, "long", "short", "other"),
		oldDay(t, pool, 2, 20, "long", "short", "other")
	for _, q := range []string{"long", "short", "other"} {
		for _, days := range []int{40, 20, 2} {
			mustExec(t, pool, `INSERT INTO public.strunk_outbox_dead (id, seq, created_at, finished_at, status,
				kind, key, payload)
				VALUES (nextval('public.strunk_outbox_id_seq'), 0, now(), now() - $1 * interval '1 day', 'dead',
				'task', $2, '{}')`, days, q)
		}
		for _, days := range []int{9, 4, 0} {
			mustExec(t, pool, `INSERT INTO public.strunk_outbox_cancelled (id, seq, created_at, finished_at, status,
				kind, key, payload)
				VALUES (nextval('public.strunk_outbox_id_seq'), 0, now(), now() - $1 * interval '1 day', 'cancelled',
				'task', $2, '{}')`, days, q)
		}
	}
	box := openBox(t, pool, outbox.Config{Retention: outbox.Retention{
		Tasks: 2 * 24 * time.Hour, Every: 100 * time.Millisecond,
		Queues: map[string]outbox.QueueRetention{
			"long":  {Tasks: 7 * 24 * time.Hour, DeadLetters: outbox.KeepForever},
			"short": {Tasks: 24 * time.Hour, DeadLetters: 10 * 24 * time.Hour},
		}}})
	start(t, box)
	testkit.Eventually(t, "the reaper has run", func() bool { return !reaperStatus(t, box).LastOK.IsZero() })
	if exists(t, pool, gone) {
		t.Errorf("%s is past every queue's retention and still there", gone)
	}
	type count struct {
		Where string
		Key   string
		N     int
	}
	rows, err := pool.Query(t.Context(), `SELECT tableoid::regclass::text, key, count(*)::integer
		FROM public.strunk_outbox GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[count])
	if err != nil {
		t.Fatal(err)
	}
	want := []count{
		{"public.strunk_outbox_cancelled", "long", 2}, {"public.strunk_outbox_cancelled", "other", 1},
		{"public.strunk_outbox_cancelled", "short", 1},
		{"public.strunk_outbox_dead", "long", 3}, {"public.strunk_outbox_dead", "other", 2},
		{"public.strunk_outbox_dead", "short", 1},
		{"public." + kept, "long", 5000},
		{"public." + young, "long", 20}, {"public." + young, "other", 20},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is kept (-want +got):\n%s", diff)
	}
}

// A retention of minutes is one of minutes: tasks go from the partition of a day that is not past.
func TestRetentionOfMinutes(t *testing.T) {
	t.Parallel()
	const keep = 10 * time.Minute
	for _, c := range []struct {
		name      string
		retention outbox.Retention
		want      []int // what is kept of brief/old, brief/new, jobs/old, jobs/new
	}{
		{"of one queue", outbox.Retention{Queues: map[string]outbox.QueueRetention{"brief": {Tasks: keep}}},
			[]int{0, 1, 1, 1}},
		{"of all", outbox.Retention{Tasks: keep}, []int{0, 1, 0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.New(t)
			mustExec(t, pool, `SELECT public.strunk_ensure_task_partition((now() AT TIME ZONE 'UTC')::date - 1)`)
			mustExec(t, pool, `INSERT INTO public.strunk_outbox_delivered_tasks (id, seq, created_at, finished_at,
				status, kind, key, payload)
				SELECT nextval('public.strunk_outbox_id_seq'), 0, now(), now() - age, 'delivered', 'task', key, '{}'
				FROM unnest(ARRAY['brief', 'jobs']) AS key, unnest(ARRAY['1 hour', '0']::interval[]) AS age`)
			c.retention.Every = 50 * time.Millisecond
			start(t, openBox(t, pool, outbox.Config{Retention: c.retention}))
			testkit.EventuallyState(t, fmt.Sprintf("of brief old and new, jobs old and new %v are left", c.want),
				func() (string, bool) {
					left := query[[]int](t, pool, `SELECT array_agg((SELECT count(*) FROM
						public.strunk_outbox_delivered_tasks d WHERE d.key = q
						AND (d.finished_at < now() - interval '30 minutes') = old) ORDER BY q, old DESC)
						FROM unnest(ARRAY['brief', 'jobs']) AS q, unnest(ARRAY[true, false]) AS old`)
					return fmt.Sprint(left), slices.Equal(left, c.want)
				})
		})
	}
}

// TestStoppedReaperLosesNothing takes today's partition away: it is made when a task needs it.
func TestStoppedReaperLosesNothing(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	for _, name := range query[[]string](t, pool, `SELECT array_agg(relname::text) FROM pg_catalog.pg_class
		WHERE relname ~ '^strunk_outbox_delivered_tasks_[0-9]{8}$'`) {
		mustExec(t, pool, `DROP TABLE public.`+name)
	}
	var flow traffic
	stop := flow.start(t, pool)
	testkit.Eventually(t, "tasks are done", func() bool { return flow.done.Load() > 20 })
	stop()
}

// TestLoopsAreOnRecord looks for every loop of a process, and for one that nobody runs.
func TestLoopsAreOnRecord(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	start(t, box)
	for _, loop := range []outbox.Loop{outbox.LoopPromoter, outbox.LoopReaper, outbox.LoopRescue} {
		testkit.Eventually(t, string(loop)+" is on record", func() bool {
			all, err := box.Loops(t.Context())
			for _, s := range all {
				if s.Loop == string(loop) {
					return err == nil && !s.LastOK.IsZero() && !s.Behind()
				}
			}
			return false
		})
	}
	mustExec(t, pool, `UPDATE public.strunk_loops SET last_ok_at = last_ok_at - interval '1 h' WHERE loop = 'reaper'`)
	if s := reaperStatus(t, box); !s.Behind() || s.Age < time.Hour {
		t.Errorf("a reaper that last ran an hour ago is not behind: %+v", s)
	}
}
