package ops_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// workJob does a slice of a job, as a process would, and reports whether there was one to be done.
func workJob(t testing.TB, pool *pgxpool.Pool, id int64, rows int) bool {
	t.Helper()
	return queryOne[bool](t, pool, `SELECT count(*) > 0 FROM public.strunk_work_job($1, $2, 'web-1/42')`, id, rows)
}

// jobOf reads a job that must be in a state and have done so much.
func jobOf(t testing.TB, box *outbox.Box, id int64, state ops.JobState, done, failed int64) ops.Job {
	t.Helper()
	j, err := ops.ReadJob(t.Context(), box, id)
	if err != nil || j.State != state || j.Done != done || j.Failed != failed || j.Skipped != 0 {
		t.Errorf("%+v, %v; want it %s with %d done and %d failed", j, err, state, done, failed)
	}
	return j
}

func startJob(t testing.TB, box *outbox.Box, n ops.NewJob) ops.Job {
	t.Helper()
	j, err := ops.StartJob(t.Context(), box, n)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// runs is a process that runs the loops until stop is called.
func runs(t testing.TB, pool *pgxpool.Pool) (stop func()) {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	return func() {
		t.Helper()
		if cancel(); <-ended != nil {
			t.Error("Run has failed")
		}
	}
}

// A bulk job goes on when its starter has gone, when the process that works it ends, when one dies in the
// middle of a slice; and it acts on each task once, and counts exactly.
func TestBulkJobSurvives(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `CREATE TABLE public.acted (id bigint);
		CREATE FUNCTION public.act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.acted VALUES (NEW.id);
			RETURN NULL; END $$;
		CREATE TRIGGER act AFTER INSERT ON public.strunk_outbox_tasks FOR EACH ROW EXECUTE FUNCTION public.act()`)
	first := die(t, pool, "emails", `{}`, "timeout after 3s", 1200)
	die(t, pool, "emails", `{}`, "no route", 4)
	die(t, pool, "sms", `{}`, "timeout after 3s", 5)
	retry := ops.NewJob{Act: ops.ActRetry, Filter: ops.TaskFilter{Queue: "emails", Error: "timeout"}, By: "ann",
		PerSecond: 50, Reason: "the provider is back"}
	if p, err := ops.PreviewJob(t.Context(), box, retry); err != nil || p.Matching.String() != "1200" {
		t.Errorf("the preview says %+v, %v", p, err)
	}
	job := startJob(t, box, retry)
	die(t, pool, "emails", `{}`, "timeout after 3s", 3) // after the start
	exec(t, pool, `SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, first+1199)

	dies(t, pool, job.ID)
	stop := runs(t, pool)
	testkit.Eventually(t, "a process has done a part", func() bool {
		return queryOne[int64](t, pool, `SELECT done FROM public.strunk_bulk_jobs`) > 0
	})
	stop()
	if _, err := ops.SetJobRate(t.Context(), box, job.ID, 0); err != nil {
		t.Error(err)
	}
	defer runs(t, pool)()
	testkit.Eventually(t, "another one does the rest", func() bool {
		return queryOne[string](t, pool, `SELECT state FROM public.strunk_bulk_jobs`) == "done"
	})
	job = jobOf(t, box, job.ID, ops.JobDone, 1199, 0)
	if job.StartedBy != "ann" || job.Reason != "the provider is back" || job.Process == "" {
		t.Errorf("%+v", job)
	}
	for sql, want := range map[string]int64{
		`SELECT count(*) FROM public.acted`:                                                         1200,
		`SELECT count(DISTINCT id) FROM public.acted`:                                               1200,
		`SELECT count(*) FROM public.strunk_outbox_dead WHERE key = 'emails'`:                       4 + 3,
		`SELECT count(*) FROM public.strunk_outbox_dead WHERE key = 'sms'`:                          5,
		`SELECT count(*) FROM public.strunk_outbox_tasks WHERE status = 'pending' AND attempts = 0`: 1200,
	} {
		if n := queryOne[int64](t, pool, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
}

// dies is a process that dies in the middle of a slice: while it is in it no other does one, and nothing of it stays.
func dies(t *testing.T, pool *pgxpool.Pool, id int64) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var done int64
	if err := tx.QueryRow(t.Context(), `SELECT w.done FROM public.strunk_work_job($1, 500, 'web-2/7') w`,
		id).Scan(&done); err != nil || done != 50 {
		t.Errorf("a slice has done %d, %v; its rate is 50 in a second", done, err)
	}
	if workJob(t, pool, id, 500) {
		t.Error("two processes work one job at once")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := queryOne[int64](t, pool, `SELECT done + position FROM public.strunk_bulk_jobs WHERE id = $1`, id); n != 0 {
		t.Errorf("a slice that was rolled back counts: %d", n)
	}
}

// A job with OneFirst stops after one task; stop and resume do what they say; a rate is a number of tasks, and
// when the next may begin; what the database refuses stops nothing else.
func TestBulkJobSteps(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	ctx := t.Context()
	first := die(t, pool, "emails", `{}`, "no", 100)
	exec(t, pool, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'not this one'; END $$`)
	exec(t, pool, `CREATE TRIGGER refuse BEFORE INSERT ON public.strunk_outbox_tasks FOR EACH ROW
		WHEN (NEW.id % 50 = 7) EXECUTE FUNCTION public.refuse()`)
	refused := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox_dead WHERE id % 50 = 7`)
	job := startJob(t, box, ops.NewJob{Act: ops.ActRetry, OneFirst: true})
	for workJob(t, pool, job.ID, 10) {
		// the first may be one that is refused
	}
	one := queryOne[int64](t, pool, `SELECT failed FROM public.strunk_bulk_jobs`)
	jobOf(t, box, job.ID, ops.JobStopped, 1, one)
	if j, err := ops.ResumeJob(ctx, box, job.ID); err != nil || j.State != ops.JobRunning || j.OneFirst {
		t.Errorf("resumed: %+v, %v", j, err)
	}
	if j, err := ops.SetJobRate(ctx, box, job.ID, 20); err != nil || *j.PerSecond != 20 {
		t.Errorf("with a rate: %+v, %v", j, err)
	}
	workJob(t, pool, job.ID, 1000)
	if !queryOne[bool](t, pool, `SELECT done + failed = 21 + $1 AND next_at = changed_at + interval '1 s'
		FROM public.strunk_bulk_jobs`, one) {
		t.Error("twenty a second is not twenty, and the next after a second")
	}
	exec(t, pool, `UPDATE public.strunk_bulk_jobs SET next_at = now() + interval '1 hour'`)
	if workJob(t, pool, job.ID, 1000) {
		t.Error("a slice was done before it was due")
	}
	if j, err := ops.StopJob(ctx, box, job.ID); err != nil || j.State != ops.JobStopped {
		t.Errorf("stopped: %+v, %v", j, err)
	}
	_, err := ops.SetJobRate(ctx, box, job.ID, 0)
	if err != nil || workJob(t, pool, job.ID, 1000) {
		t.Errorf("a stopped job was worked, or %v", err)
	}
	if _, err := ops.ResumeJob(ctx, box, job.ID); err != nil {
		t.Error(err)
	}
	for workJob(t, pool, job.ID, 30) {
	}
	done := jobOf(t, box, job.ID, ops.JobDone, 100-refused, refused)
	if !strings.HasPrefix(done.LastError, "task ") || !strings.HasSuffix(done.LastError, ": not this one") {
		t.Errorf("the last error is %q", done.LastError)
	}
	if n := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox_dead WHERE id >= $1`,
		first); n != refused {
		t.Errorf("%d are dead, %d were refused", n, refused)
	}
	failsAndIsReaped(t, box, pool)
}

// failsAndIsReaped has the slices of a job fail in a row, and its week pass.
func failsAndIsReaped(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	t.Helper()
	job := startJob(t, box, ops.NewJob{Act: ops.ActRunNow})
	for _, want := range []string{"running", "running", "failed"} {
		if state := queryOne[string](t, pool, `SELECT public.strunk_job_failed($1, 'disk full', 1000, 3)`,
			job.ID); state != want {
			t.Errorf("a slice has failed: %s, want %s", state, want)
		}
	}
	if j := jobOf(t, box, job.ID, ops.JobFailed, 0, 0); j.LastError != "disk full" {
		t.Errorf("%+v", j)
	}
	if j, err := ops.ResumeJob(t.Context(), box, job.ID); err != nil || j.State != ops.JobRunning {
		t.Errorf("resumed: %+v, %v", j, err)
	}
	exec(t, pool, `UPDATE public.strunk_bulk_jobs SET changed_at = now() - interval '8 days'`)
	if n := queryOne[int64](t, pool, `SELECT public.strunk_reap_jobs(604800000, 10)`); n != 1 {
		t.Errorf("%d jobs were reaped; want the one that does not run", n)
	}
	if _, err := ops.ReadJob(t.Context(), box, 99); !errors.Is(err, ops.ErrNotFound) {
		t.Errorf("no such job: %v", err)
	}
}

// Each act reaches the tasks that it is for, and no others.
func TestBulkActs(t *testing.T) {
	t.Parallel()
	tomorrow, nine := time.Now().Add(24*time.Hour).Truncate(time.Second), 9
	for _, c := range []struct {
		name, reason string
		n            ops.NewJob
		done         int64
		changed      string // what tasks are that it has changed
		by           int64  // how many more of them there are
	}{
		{"retry", "dead letters alone", ops.NewJob{Act: ops.ActRetry}, 1, `status = 'pending' AND attempts = 0`, 1},
		{"retry cancelled", "as it says", ops.NewJob{Act: ops.ActRetry, Filter: ops.TaskFilter{Status: "cancelled"}}, 1,
			`status = 'pending' AND attempts = 0`, 1},
		{"run now", "what waits", ops.NewJob{Act: ops.ActRunNow}, 2, `status = 'pending' AND due_at <= now()`, 1},
		{"reschedule", "what waits", ops.NewJob{Act: ops.ActReschedule, DueAt: &tomorrow}, 2, `due_at > now() +
			interval '20 hours' AND status = 'scheduled'`, 2},
		{"priority", "what is scheduled", ops.NewJob{Act: ops.ActSetPriority, Priority: &nine,
			Filter: ops.TaskFilter{Status: "scheduled"}}, 1, `priority = 9 AND status = 'scheduled'`, 1},
		{"discard", "what waits", ops.NewJob{Act: ops.ActDiscard, Reason: "obsolete"}, 2,
			`last_error = 'discarded: obsolete'`, 2},
		{"cancel", "what waits; who runs is asked", ops.NewJob{Act: ops.ActCancel, Reason: "obsolete"}, 3,
			`last_error = 'cancelled: obsolete'`, 2},
		{"delete", "what waits", ops.NewJob{Act: ops.ActDelete}, 2, `status IN ('pending', 'scheduled')`, -2},
		{"delete dead", "as it says", ops.NewJob{Act: ops.ActDelete, Filter: ops.TaskFilter{Status: "dead"}}, 1,
			`status = 'dead'`, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			box, pool := open(t)
			oneOfEach(t, pool)
			before := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE `+c.changed)
			if p, err := ops.PreviewJob(t.Context(), box, c.n); err != nil || p.Matching.N != c.done {
				t.Errorf("(%s) the preview says %+v, %v; want %d", c.reason, p, err, c.done)
			}
			if n, precise := queryOne[int64](t, pool, `SELECT matching FROM public.strunk_preview_job($1,
				jsonb_build_object('status', $2::text))`, c.n.Act, c.n.Filter.Status), queryOne[string](t, pool,
				`SELECT precise FROM public.strunk_preview_job($1, NULL, 0)`, c.n.Act); n != c.done ||
				precise != "at_least" {
				t.Errorf("in SQL the preview says %d, and of nothing %s", n, precise)
			}
			job := startJob(t, box, c.n)
			for workJob(t, pool, job.ID, 1) {
			}
			jobOf(t, box, job.ID, ops.JobDone, c.done, 0)
			after := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE `+c.changed)
			if after-before != c.by {
				t.Errorf("(%s) there are %d more with %s; want %d", c.reason, after-before, c.changed, c.by)
			}
		})
	}
}

// What could choose everything by mistake, or does nothing, is refused.
func TestBulkJobRefusals(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	nine, ten := 9, 10
	for name, n := range map[string]ops.NewJob{"no act": {}, "act": {Act: "drop"},
		"no due time": {Act: ops.ActReschedule},
		"priority":    {Act: ops.ActSetPriority, Priority: &ten}, "too much": {Act: ops.ActRetry, Priority: &nine},
		"rate": {Act: ops.ActRetry, PerSecond: -1}, "page": {Act: ops.ActRetry, Filter: ops.TaskFilter{Limit: 5}},
		"status":    {Act: ops.ActRetry, Filter: ops.TaskFilter{Status: "pending"}},
		"delivered": {Act: ops.ActDelete, Filter: ops.TaskFilter{Status: "delivered"}},
		"JSON":      {Act: ops.ActRetry, Filter: ops.TaskFilter{Payload: []byte(`{`)}}} {
		if _, err := ops.StartJob(t.Context(), box, n); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pool.Exec(t.Context(), `SELECT public.strunk_start_job('retry', '{"quue": "emails"}')`); err == nil ||
		!strings.Contains(err.Error(), "a filter has no quue") {
		t.Errorf("a misspelt filter: %v", err)
	}
	if n := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_bulk_jobs`); n != 0 {
		t.Errorf("%d jobs were started", n)
	}
}
