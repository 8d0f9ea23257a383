package ops_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// count adds a row of counters, some minutes before another: done and failed tasks, and as many waits and runs in one
// bucket each.
func count(t *testing.T, pool *pgxpool.Pool, now time.Time, queue string, minutesAgo, done, failed int) {
	t.Helper()
	exec(t, pool, `INSERT INTO public.strunk_counters (minute, kind, name, enqueued, done, failed,
		dead, waits, waits_us,
		runs, runs_us)
	SELECT $5::timestamptz - $2::integer * interval '1 minute', 'queue', $1, $3::integer, $3::integer,
		$4::integer, $4::integer,
		array_fill(0, ARRAY[9]) || $3::integer + $4::integer || array_fill(0, ARRAY[11]), ($3 + $4) * 800000::bigint,
		array_fill(0, ARRAY[3]) || $3::integer + $4::integer || array_fill(0, ARRAY[17]), ($3 + $4) * 8000::bigint`,
		queue, minutesAgo, done, failed, now)
}

// thisMinute is when the minute began that all counters of a test are counted from.
func thisMinute(t *testing.T, pool *pgxpool.Pool) time.Time {
	t.Helper()
	return queryOne[time.Time](t, pool, `SELECT date_trunc('minute', now())`)
}

func TestRates(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	now := thisMinute(t, pool)
	count(t, pool, now, "emails", 90, 1000, 0)
	count(t, pool, now, "emails", 3, 30, 10)
	count(t, pool, now, "emails", 3, 30, 10)
	count(t, pool, now, "emails", 1, 120, 0)
	count(t, pool, now, "invoices", 1, 7, 0)
	exec(t, pool, `SELECT public.strunk_fold_counters('2 days', 1000)`)
	count(t, pool, now, "emails", 3, 20, 0) // a late one

	r, err := ops.Rates(t.Context(), box, ops.RatesFilter{Queue: "emails"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Queues) != 1 || len(r.Queues[0].Steps) != 2 || len(r.Subscribers) != 0 {
		t.Fatalf("%+v", r)
	}
	total, steps := r.Queues[0].Total, r.Queues[0].Steps
	if total.Done != 200 || total.Failed != 20 || total.Dead != 20 || total.Begun != 220 || total.Run.N != 220 ||
		total.FailedShare != 20.0/220 {
		t.Errorf("total %+v", total)
	}
	if steps[0].Done != 80 || steps[1].Done != 120 || steps[1].At.Sub(steps[0].At) != 2*time.Minute {
		t.Errorf("steps %+v", steps)
	}
	if w := total.Wait; w.P50.Seconds() != 0.75 || w.P99.Milliseconds() != 995 || w.Mean.Seconds() != 0.8 {
		t.Errorf("waits %+v", w)
	}
	if per := r.PerMinute(total.Done); per < 200.0/62 || per > 200.0/60 {
		t.Errorf("%v a minute", per)
	}

	all := get[ops.RatesReport](t, h, "/v1/rates?window_seconds=7200&step_seconds=3600")
	if len(all.Queues) != 2 || all.Queues[0].Total.Done != 1200 || all.Queues[1].Total.Done != 7 {
		t.Errorf("%+v", all)
	}
	if page := get[ops.RatesReport](t, h, "/v1/rates?after=emails"); len(page.Queues) != 1 ||
		page.Queues[0].Queue != "invoices" {
		t.Errorf("%+v", page)
	}
	for _, f := range []ops.RatesFilter{{Queue: "a", Subscriber: "b"}, {Window: 49 * time.Hour},
		{Step: time.Second}, {Window: 48 * time.Hour}, {Limit: -1}} {
		if _, err := ops.Rates(t.Context(), box, f); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// Totals never fall: neither when minutes are folded, nor when those past their retention are deleted. A queue of which
// nothing was counted is there with zeros.
func TestCountersNeverFall(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	now := thisMinute(t, pool)
	count(t, pool, now, "emails", 3, 30, 10)
	count(t, pool, now, "emails", 3*24*60, 30, 10)
	count(t, pool, now, "sms", 3, 5, 0)
	count(t, pool, now, "sms", 3, 7, 0)
	exec(t, pool, `SELECT public.strunk_enqueue('idle', '{}')`)
	want := []string{`strunk_queue_done_total{queue="emails"} 60`, `strunk_queue_done_total{queue="sms"} 12`,
		`strunk_queue_dead_total{queue="emails"} 20`,
		`strunk_queue_begun_total{queue="emails"} 80`, `strunk_queue_dead_total{queue="idle"} 0`,
		`strunk_queue_wait_seconds_bucket{queue="emails",le="0.5"} 0`,
		`strunk_queue_wait_seconds_bucket{queue="emails",le="1"} 80`,
		`strunk_queue_wait_seconds_bucket{queue="emails",le="+Inf"} 80`,
		`strunk_queue_wait_seconds_count{queue="emails"} 80`, `strunk_queue_wait_seconds_sum{queue="emails"} 64`,
		`strunk_queue_run_seconds_bucket{queue="emails",le="0.01"} 80`, "# TYPE strunk_queue_run_seconds histogram",
		"# TYPE strunk_queue_enqueued_total counter"}
	for _, when := range []string{"at first", "one is folded", "two are", "three are", "all are",
		"one is swept"} {
		_, body, _ := metrics(t, box, ops.Config{Insecure: true})
		for _, line := range want {
			if !strings.Contains(body, line+"\n") {
				t.Errorf("%s: without %s", when, line)
			}
		}
		exec(t, pool, `SELECT public.strunk_fold_counters('2 days', 1)`)
	}
	if n := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_counters WHERE in_totals`); n != 3 {
		t.Errorf("%d rows are kept and folded; want those of the last two days", n)
	}
	// By the hour of each queue, and of all by the minute and by the hour: of the last two days as well.
	const sums = `SELECT string_agg(format('%s %s: %s, %s waited', span_s, name, done, waited), '; ' ORDER BY span_s,
		name) FROM (SELECT span_s, name, sum(done) AS done, sum(waits[10]) AS waited
		FROM public.strunk_counter_sums GROUP BY 1, 2) s`
	if got := queryOne[string](t, pool, sums); got != "60 : 42, 52 waited; 3600 : 42, 52 waited; "+
		"3600 emails: 30, 40 waited; 3600 sms: 12, 12 waited" {
		t.Errorf("the sums are %s", got)
	}
}

// Counters of a name that the database cannot hold are dropped; those beside them are written.
func TestUnstorableCountersAreDroppedAlone(t *testing.T) {
	t.Parallel()
	box, err := outbox.Open(t.Context(), outboxtest.New(t), outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b\x00", "c"} {
		core.BoxHost(box).Counters(core.CountersOf{Kind: core.CountersOfQueue, Name: name}).Done.Add(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()
	var r ops.RatesReport
	until(t, "counters are written", func() bool {
		r, err = ops.Rates(t.Context(), box, ops.RatesFilter{})
		return err != nil || len(r.Queues) >= 2 // each is written by itself
	})
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if len(r.Queues) != 2 || r.Queues[0].Queue != "a" || r.Queues[1].Queue != "c" || r.Queues[1].Total.Done != 1 {
		t.Errorf("%+v", r.Queues)
	}
}
