package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
	"github.com/strunk-go/strunk/schedule"
)

// TestMisfirePolicies lets schedules fall due while nobody runs.
func TestMisfirePolicies(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	tests := []struct {
		id, reason string
		misfire    schedule.Misfire
		spec       string
		since      string  // how long ago the first missed time was
		want       []int64 // the minutes since the due times that become tasks
	}{
		{id: "skip", reason: "what was missed is left out", misfire: schedule.Skip, spec: "every 1h", since: "210 min"},
		{id: "skip-late", reason: "a little late is not missed", misfire: schedule.Skip, spec: "every 1h",
			since: "20 s", want: []int64{0}},
		{id: "once", reason: "one task for all, with the latest time", misfire: schedule.RunOnce, spec: "every 1h",
			since: "210 min", want: []int64{30}},
		{id: "catch-up", reason: "one for each", misfire: schedule.CatchUp(10), spec: "every 1h", since: "210 min",
			want: []int64{210, 150, 90, 30}},
		{id: "catch-up-2", reason: "no more than the cap, the latest", misfire: schedule.CatchUp(2),
			spec: "every 1h", since: "210 min", want: []int64{90, 30}},
		{id: "once-years", reason: "years of minutes cost no more than one", misfire: schedule.RunOnce,
			spec: "every 1m", since: "20 years 30 s", want: []int64{0}},
		{id: "cron-years", reason: "nor do those of a cron expression", misfire: schedule.CatchUp(1),
			spec: "@yearly", since: "20 years"},
	}
	next := map[string]time.Time{}
	for _, tt := range tests {
		e := mustRegister(t, box, tt.id, tt.spec, schedule.OnMisfire(tt.misfire))
		next[tt.id] = e.NextDue
		mustExec(t, pool, `UPDATE public.strunk_schedules SET next_due = date_trunc('second', clock_timestamp())
			- $2::interval WHERE id = $1`, tt.id, tt.since)
	}
	stop := start(t, box, schedule.Runner())
	testkit.Eventually(t, "all have moved on", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_schedules WHERE next_due <= now()`) == 0
	})
	stop()
	for _, tt := range tests {
		got := query[[]int64](t, pool, `SELECT coalesce(array_agg(floor(extract(epoch FROM now() - due_at) /
			60)::bigint ORDER BY due_at), '{}')
			FROM public.strunk_schedule_runs WHERE schedule_id = $1`, tt.id)
		if tt.id == "cron-years" {
			if len(got) != 1 || got[0] > 367*24*60 {
				t.Errorf("%s: %s: minutes since: %v; want one of the last year", tt.id, tt.reason, got)
			}
			continue
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %s: minutes since: %v; want %v", tt.id, tt.reason, got, tt.want)
		}
	}
	late := query[bool](t, pool, `SELECT next_due - now() BETWEEN interval '25 min' AND interval '31 min'
		FROM public.strunk_schedules WHERE id = 'once'`)
	if !late {
		t.Error("the next time must follow from the scheduled one, half an hour from now, not from now")
	}
}

// A schedule fires not before it is due, and then because the loop sleeps until that time and a change wakes it: a loop
// that looks every ten seconds, as this one does at the latest, needs longer for so many rounds than the test waits.
func TestFiresWhenDue(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{PollInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	start(t, box, schedule.Runner())
	testkit.Eventually(t, "the runner runs", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_loops WHERE loop = 'scheduler'`) == 1
	})
	const rounds = 15
	elsewhere := openBox(t, pool) // a process of its own to the runner: only NOTIFY joins them
	mustRegister(t, elsewhere, "soon", "every 100ms")
	testkit.EventuallyState(t, "enough rounds in which it fires", func() (string, bool) {
		n := query[int](t, pool, `SELECT count(DISTINCT xmin::text) FROM public.strunk_schedule_runs`)
		return fmt.Sprint(n), n >= rounds
	})
	late := query[[]float64](t, pool, `SELECT percentile_cont(ARRAY[0.5, 0.9, 1]) WITHIN GROUP (ORDER BY
		extract(epoch FROM fired_at - due_at) * 1000)
		FROM public.strunk_schedule_runs`)
	t.Logf("ms from due to enqueued: median %.1f, 90 %% %.1f, most %.1f", late[0], late[1], late[2])
	if early := query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs
		WHERE fired_at < due_at`); early > 0 {
		t.Errorf("%d tasks were enqueued before they were due", early)
	}
}

func TestDisabledStaysDisabled(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	ctx := t.Context()
	start(t, box, schedule.Runner())
	mustRegister(t, box, "off", "every 100ms")
	if err := schedule.Disable(ctx, box, "off"); err != nil {
		t.Fatal(err)
	}
	before := query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs WHERE schedule_id = 'off'`)
	for _, spec := range []string{"every 100ms", "every 200ms"} {
		if e := mustRegister(t, box, "off", spec); e.Enabled {
			t.Errorf("registering %q again has enabled a disabled schedule", spec)
		}
	}
	mustRegister(t, box, "on", "every 100ms") // what is due, is fired
	testkit.Eventually(t, "the other schedule ticks", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs WHERE schedule_id = 'on'`) >= 3
	})
	if after := query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs
		WHERE schedule_id = 'off'`); after != before {
		t.Errorf("a disabled schedule has enqueued %d tasks", after-before)
	}
	if err := schedule.Enable(ctx, box, "off"); err != nil {
		t.Fatal(err)
	}
	e, err := schedule.Get(ctx, box, "off")
	if err != nil || !e.Enabled {
		t.Fatalf("after Enable: %+v, %v", e, err)
	}
	testkit.Eventually(t, "it ticks again", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs
			WHERE schedule_id = 'off'`) > before
	})
}

func TestRegisterAgain(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	first := mustRegister(t, box, "r", "every 1h")
	if again := mustRegister(t, box, "r", "every 1h"); !cmp.Equal(first, again) {
		t.Errorf("the same registration changed something:\n%s", cmp.Diff(first, again))
	}
	prio := mustRegister(t, box, "r", "every 1h", schedule.Task(queue.Priority(7),
		queue.Metadata(map[string]string{"k": "v"})))
	if !prio.NextDue.Equal(first.NextDue) {
		t.Error("a change of the priority has moved the due time")
	}
	cron := mustRegister(t, box, "r", "30 9 * * mon-fri", schedule.TimeZone("Europe/Berlin"))
	if cron.NextDue.Minute() != 30 || cron.NextDue.Second() != 0 {
		t.Errorf("a change of the spec left the due time at %v", cron.NextDue)
	}
	moved := mustRegister(t, box, "r", "30 9 * * mon-fri", schedule.TimeZone("America/New_York"))
	if moved.NextDue.Equal(cron.NextDue) {
		t.Error("a change of the time zone left the due time where it was")
	}
	fired := moved.NextDue.Add(30 * 24 * time.Hour)
	mustExec(t, pool, `UPDATE public.strunk_schedules SET last_due = $1`, fired)
	if again := mustRegister(t, box, "r", "every 2h"); !again.NextDue.After(fired) {
		t.Errorf("a new spec is due at %v; want a time behind the last that was fired, %v", again.NextDue, fired)
	}
}

func TestRunNowListRemove(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	ctx := t.Context()
	mustRegister(t, box, "b", "every 1h", schedule.Task(queue.Priority(7), queue.MaxAttempts(3),
		queue.Timeout(time.Second), queue.Metadata(map[string]string{"k": "v"})))
	mustRegister(t, box, "a", "@daily")
	if err := schedule.Disable(ctx, box, "b"); err != nil {
		t.Fatal(err)
	}
	id, err := schedule.RunNow(ctx, box, "b")
	if err != nil {
		t.Fatal(err)
	}
	rec, err := reports.Get(ctx, box, id)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Status != queue.StatusPending || rec.Priority != 7 || rec.MaxAttempts != 3 || rec.Payload.Kind != "b" ||
		rec.Metadata["schedule"] != "b" || rec.Metadata["k"] != "v" || rec.Metadata["scheduled_for"] == "" {
		t.Errorf("the task of RunNow: %+v", rec)
	}
	all, err := schedule.List(ctx, box)
	if err != nil || len(all) != 2 || all[0].ID != "a" || all[1].ID != "b" || all[1].Enabled ||
		string(all[1].Payload) != `{"kind":"b"}` {
		t.Errorf("List: %+v, %v", all, err)
	}
	if err := schedule.Remove(ctx, box, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := schedule.Get(ctx, box, "b"); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("Get of a removed schedule: %v", err)
	}
	for name, call := range map[string]func() error{
		"Enable":  func() error { return schedule.Enable(ctx, box, "b") },
		"Disable": func() error { return schedule.Disable(ctx, box, "b") },
		"Remove":  func() error { return schedule.Remove(ctx, box, "b") },
		"RunNow":  func() error { _, err := schedule.RunNow(ctx, box, "b"); return err },
	} {
		if err := call(); !errors.Is(err, schedule.ErrNotFound) {
			t.Errorf("%s of a removed schedule: %v; want ErrNotFound", name, err)
		}
	}
}

func TestInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	no := errors.New("no")
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		mustRegister(t, box, "tx", "every 1h", schedule.In(tx))
		if _, err := schedule.Get(t.Context(), box, "tx", schedule.In(tx)); err != nil {
			t.Error(err)
		}
		return no
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	if _, err := schedule.Get(t.Context(), box, "tx"); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("after the rollback: %v; want ErrNotFound", err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustRegister(t, box, "borrowed", "every 1h", schedule.In(box.Tx(tx)))
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := schedule.Get(t.Context(), box, "borrowed"); err != nil {
		t.Error(err)
	}
}

func TestBadRegistrations(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	for _, tt := range []struct {
		name, id, spec, want string
		opts                 []schedule.RegisterOption
	}{
		{name: "an empty id", id: "", spec: "1h", want: "the id must not be empty"},
		{name: "a delay", id: "x", spec: "1h",
			opts: []schedule.RegisterOption{schedule.Task(queue.Delay(time.Second))}, want: "leave out Delay"},
		{name: "a bad option of the queue", id: "x", spec: "1h",
			opts: []schedule.RegisterOption{schedule.Task(queue.Priority(10))}, want: "Priority"},
		{name: "no cap", id: "x", spec: "1h",
			opts: []schedule.RegisterOption{schedule.OnMisfire(schedule.CatchUp(0))}, want: "CatchUp"},
		{name: "a zero policy", id: "x", spec: "1h",
			opts: []schedule.RegisterOption{schedule.OnMisfire(schedule.Misfire{})}, want: "OnMisfire"},
		{name: "a bad spec", id: "x", spec: "every", want: "bad spec"},
		{name: "a zone nobody knows", id: "x", spec: "@daily",
			opts: []schedule.RegisterOption{schedule.TimeZone("Mars/Base")}, want: "Mars/Base"},
		{name: "the machine's own zone", id: "x", spec: "@daily",
			opts: []schedule.RegisterOption{schedule.TimeZone("Local")}, want: "Local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := schedule.Register(t.Context(), box, tt.id, reports, report{}, tt.spec, tt.opts...)
			if !errors.Is(err, schedule.ErrInvalid) && !errors.Is(err, queue.ErrInvalid) ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want ErrInvalid with %q", err, tt.want)
			}
		})
	}
	if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_schedules`); n != 0 {
		t.Errorf("%d schedules were stored all the same", n)
	}
}

// TestBrokenScheduleKeepsNoneWaiting stores one that this library cannot read, as a newer one might have.
func TestBrokenScheduleKeepsNoneWaiting(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	mustRegister(t, box, "broken", "every 100ms")
	mustExec(t, pool, `UPDATE public.strunk_schedules SET spec = 'at the full moon'`)
	mustRegister(t, box, "whole", "every 100ms")
	start(t, box, schedule.Runner())
	testkit.Eventually(t, "the whole one ticks", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs WHERE schedule_id = 'whole'`) >= 3
	})
	testkit.Eventually(t, "the broken one's error is kept", func() bool {
		e, err := schedule.Get(t.Context(), box, "broken")
		return err == nil && strings.Contains(e.LastError, "bad spec") && e.Enabled
	})
}

// TestFireTwiceFails calls the function that fires as two processes with the same knowledge would,
// and then without the fences that come first. The run's key is what is left, and when the
// retention has taken that, the last due time that was fired.
func TestFireTwiceFails(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	e := mustRegister(t, box, "f", "every 1h")
	fire := func() *[]int64 {
		t.Helper()
		return query[*[]int64](t, pool, `SELECT public.strunk_schedule_fire('f', 1, $1, ARRAY[$1::timestamptz],
			$2)`, e.NextDue, e.NextDue.Add(time.Hour))
	}
	if got := fire(); got == nil || len(*got) != 1 {
		t.Fatalf("the first: %v; want one task", got)
	}
	if got := fire(); got != nil {
		t.Errorf("the second: %v; want NULL", *got)
	}
	mustExec(t, pool, `UPDATE public.strunk_schedules SET next_due = $1, last_due = NULL`, e.NextDue)
	if got := fire(); got == nil || len(*got) != 0 {
		t.Errorf("with the due time set back by hand: %v; want no task", got)
	}
	mustExec(t, pool, `DELETE FROM public.strunk_schedule_runs`)
	mustExec(t, pool, `UPDATE public.strunk_schedules SET next_due = $1, last_due = $1`, e.NextDue)
	if got := fire(); got == nil || len(*got) != 0 {
		t.Errorf("behind the last due time that was fired: %v; want no task", got)
	}
	if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox`); n != 1 {
		t.Errorf("%d tasks; want 1", n)
	}
}

// TestRunnerSurvivesAnOutage cuts its connection.
func TestRunnerSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{PollInterval: 20 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mustRegister(t, box, "o", "every 100ms")
	start(t, box, schedule.Runner())
	cutter, err := pgx.Connect(t.Context(), outboxtest.DSN(pool)) // the pool has connections that were cut
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cutter.Close(context.Background()) })
	for range 3 {
		before := runs(t, pool)
		testkit.Eventually(t, "it ticks", func() bool { return runs(t, pool) > before+1 })
		if _, err := cutter.Exec(t.Context(), `SELECT pg_catalog.pg_terminate_backend(pid)
			FROM pg_catalog.pg_stat_activity
			WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
			AND query LIKE '%strunk_schedule%'`); err != nil {
			t.Fatal(err)
		}
	}
}

func runs(t testing.TB, pool *pgxpool.Pool) int {
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Soon)
	defer cancel()
	for {
		var n int
		err := pool.QueryRow(ctx, `SELECT count(*) FROM public.strunk_schedule_runs`).Scan(&n)
		if err == nil || ctx.Err() != nil {
			return n
		}
	}
}

// A queue of results is scheduled as any other; its tasks come to its worker. No queue is an error.
func TestRegisterWithResultQueue(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	results := queue.DefineWithResult[report, int]("counted-reports", queue.Config{})
	_, err := schedule.Register(t.Context(), box, "counted", results, report{Kind: "counted"}, "@daily")
	if err != nil {
		t.Fatal(err)
	}
	id, err := schedule.RunNow(t.Context(), box, "counted")
	if err != nil {
		t.Fatal(err)
	}
	queuetest.Drain(t, box, results.Worker(func(context.Context, queue.Task[report]) (int, error) { return 7, nil }))
	if n, err := results.Result(t.Context(), box, id); n != 7 || err != nil {
		t.Errorf("result %d, %v", n, err)
	}
	_, err = schedule.Register(t.Context(), box, "nothing", nil, report{}, "@daily")
	if !errors.Is(err, schedule.ErrInvalid) {
		t.Errorf("no queue: %v", err)
	}
}
