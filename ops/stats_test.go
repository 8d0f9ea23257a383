package ops_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// fill puts tasks of every status into queues; see the numbers in TestStatsAgreeWithTheTable.
func fill(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	seed(t, pool)
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}', priority => i % 10) FROM generate_series(1, 40) i`)
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}', delay => '1 hour') FROM generate_series(1, 7) i`)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET created_at = now() - interval '90 s' WHERE id = (SELECT
		min(id) FROM public.strunk_outbox_tasks WHERE key = 'emails' AND priority = 3)`)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = 7, claim_no = 1
		WHERE key = 'emails' AND priority = 9`)
	die(t, pool, "emails", `{}`, "no", 11)
	exec(t, pool, `INSERT INTO public.strunk_outbox_dead (id, seq, created_at, finished_at, status, kind, key,
		entity_id, subscriber, position, version)
	SELECT i, i, now(), now(), 'dead', 'delivery', 'order', '1', 'indexer', i, i FROM generate_series(900001,
	900004) i`)
	exec(t, pool, `SELECT public.strunk_pause_queue('emails')`)
}

func TestStatsAgreeWithTheTable(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	fill(t, pool)
	q, err := ops.QueueStats(t.Context(), box, "emails")
	if err != nil {
		t.Fatal(err)
	}
	count := func(status string) ops.Count {
		n := queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE kind = 'task'
			AND key = 'emails' AND status = $1`, status)
		return ops.Count{N: n, Precision: ops.Exact}
	}
	if q.Pending != count("pending") || q.Scheduled != count("scheduled") || q.Claimed != count("claimed") ||
		q.Dead != count("dead") || q.Pending.N != 37 {
		t.Errorf("%+v", q)
	}
	if q.Workers != 1 || q.Concurrency != 8 || q.PausedAt == nil || q.NextDueAt == nil || q.Delivered == nil ||
		*q.Delivered != count("delivered") {
		t.Errorf("%+v", q)
	}
	if q.WaitingFor.Duration < 90*time.Second || q.WaitingSince == nil {
		t.Errorf("the head of priority 3 has waited for 90 s: %v", q.WaitingFor)
	}
	all, err := ops.Queues(t.Context(), box, ops.Page{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, q := range all {
		names = append(names, q.Name)
	}
	if fmt.Sprint(names) != "[dead emails later reports]" || all[1].Pending != q.Pending ||
		all[1].Claimed != q.Claimed {
		t.Errorf("%v %+v", names, all)
	}
	o, err := ops.OverallStats(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	exact := func(n int64) ops.Count { return ops.Count{N: n, Precision: ops.Exact} }
	if o.Pending != exact(37) || o.Scheduled != exact(8) || o.Claimed != exact(4) || o.Dead != exact(18) ||
		o.EventsKept != exact(5) || o.Head != 5 ||
		o.EventsWaiting != exact(0) || o.Workers != 1 || o.Subscribers != 1 || o.Schedules != 1 || o.TableBytes == 0 {
		t.Errorf("%+v", o)
	}
	sizes := queryOne[int64](t, pool, `SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
		WHERE relkind = 'r' AND relname LIKE 'strunk%'`)
	if o.TableBytes != sizes {
		t.Errorf("%d bytes, not %d", o.TableBytes, sizes)
	}
}

// A due time in the past, such as a time.Time that was never set, is no age: a task waits from when it was enqueued.
func TestATaskWaitsFromItsEnqueueAtMost(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}', due_at => '0001-01-01')`)
	q, err := ops.QueueStats(t.Context(), box, "emails")
	if err != nil {
		t.Fatal(err)
	}
	if since := queryOne[time.Time](t, pool, `SELECT created_at
		FROM public.strunk_outbox_tasks`); q.WaitingSince == nil || !q.WaitingSince.Equal(since) {
		t.Errorf("waits since %v, and was enqueued at %v", q.WaitingSince, since)
	}
}

func TestSubscriberStats(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	fill(t, pool)
	exec(t, pool, `UPDATE public.strunk_subscribers SET cursor = 2, owner = 1, host = 'web-1', pid = 42, heartbeat_at
		= now() - interval '1 hour'`)
	exec(t, pool, `INSERT INTO public.strunk_retries (position, attempts, subscriber, entity_id, last_error)
		VALUES (3, 4, 'indexer', '', 'no index')`)
	exec(t, pool, `UPDATE public.strunk_outbox_delivered_events SET created_at = now() - interval '1 min'
		WHERE position = 3`)
	s, err := ops.SubscriberStats(t.Context(), box, "indexer")
	if err != nil {
		t.Fatal(err)
	}
	if s.Waiting != (ops.Count{N: 3, Precision: ops.Exact}) || s.Head != 5 || s.Cursor != 2 || s.Dead.N != 4 ||
		s.Deliveries.N != 0 || s.Owner != "web-1/42" || !s.Silent ||
		s.Lag.Duration < time.Minute || s.Blocked == nil ||
		*s.Blocked != (ops.Blocked{Position: 3, Attempts: 4, Error: "no index"}) {
		t.Errorf("%+v %+v", s, s.Blocked)
	}
	if all, err := ops.Subscribers(t.Context(), box, ops.Page{}); err != nil || len(all) != 1 ||
		all[0].Waiting != s.Waiting {
		t.Errorf("%+v %v", all, err)
	}
	if _, err := ops.SubscriberStats(t.Context(), box, "nobody"); !errors.Is(err, ops.ErrNotFound) {
		t.Error(err)
	}
	letters, err := ops.DeadLetters(t.Context(), box, outbox.DeadFilter{Subscriber: "indexer"})
	if err != nil || len(letters) != 4 || letters[0].Kind != ops.KindDelivery || letters[0].Subscriber != "indexer" {
		t.Errorf("%+v %v", letters, err)
	}
}

// Beyond the cap a count is the cap and a plus until a pass has counted, and says how old it is from then on.
func TestCountsBeyondTheCapSaySo(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `SELECT count(*) FROM public.strunk_enqueue_many(ARRAY['big'], array_fill('{}'::text,
		ARRAY[12000]), NULL, NULL, NULL, NULL, NULL, NULL, NULL, false)`)
	exec(t, pool, `SELECT public.strunk_enqueue('small', '{}')`)
	q, err := ops.QueueStats(t.Context(), box, "big")
	if err != nil || q.Pending != (ops.Count{N: ops.CountCap, Precision: ops.AtLeast}) ||
		q.Pending.String() != "1000+" {
		t.Errorf("nobody has counted: %v, %v", q.Pending, err)
	}
	exec(t, pool, `SELECT public.strunk_count(1000000)`)
	exec(t, pool, `UPDATE public.strunk_count_passes SET counted_at = clock_timestamp() - interval '2 hours'`)
	q, err = ops.QueueStats(t.Context(), box, "big")
	if err != nil || q.Pending.N != 12_000 || q.Pending.Precision != ops.Counted || q.Pending.Age == nil ||
		q.Pending.Age.Hours() < 2 || q.Pending.Age.Hours() > 3 {
		t.Errorf("counted two hours ago: %v, %v", q.Pending, err)
	}
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET key = 'other' WHERE key = 'big'`)
	if q, err = ops.QueueStats(t.Context(), box, "other"); err != nil ||
		q.Pending != (ops.Count{N: ops.CountCap, Precision: ops.AtLeast}) {
		t.Errorf("the last pass knows nothing of it: %v, %v", q.Pending, err)
	}
	all, err := ops.Queues(t.Context(), box, ops.Page{})
	if err != nil || len(all) != 2 || all[0].Pending != (ops.Count{N: ops.ListCountCap, Precision: ops.AtLeast}) ||
		all[1].Pending.Precision != ops.Exact {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTask(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	fill(t, pool)
	for _, c := range []struct {
		name, reason string
		id           int64
		status       queue.Status
		kind         ops.Kind
	}{
		{"active", "in the hot partition", 1, queue.StatusPending, ops.KindTask},
		{"dead", "its history is there", queryOne[int64](t, pool, `SELECT min(id)
			FROM public.strunk_outbox_dead`), queue.StatusDead, ops.KindTask},
		{"copy", "of an event, for one subscriber", 900001, queue.StatusDead, ops.KindDelivery},
	} {
		d, err := ops.Task(t.Context(), box, c.id)
		if err != nil || d.Status != c.status || d.Kind != c.kind || d.ID != c.id {
			t.Errorf("%s (%s): %+v, %v", c.name, c.reason, d, err)
		}
		if c.name == "dead" && (len(d.History) != 1 || d.History[0].Stack != "a stack") {
			t.Errorf("history %+v", d.History)
		}
	}
	if _, err := ops.Task(t.Context(), box, 424242); !errors.Is(err, ops.ErrNotFound) {
		t.Error(err)
	}
}

// The views are for psql: they are there, and say what the functions say.
func TestViews(t *testing.T) {
	t.Parallel()
	_, pool := open(t)
	fill(t, pool)
	for _, c := range []struct{ sql, want string }{
		{`SELECT pending || ' ' || pending_precision FROM public.strunk_queue_stats
			WHERE queue = 'emails'`, "37 exact"},
		{`SELECT waiting::text FROM public.strunk_subscriber_lag WHERE name = 'indexer'`, "5"},
		{`SELECT queue || claimed FROM public.strunk_worker_stats`, "emails4"},
		{`SELECT part FROM public.strunk_table_sizes WHERE name = 'strunk_outbox_tasks'`, "tasks"},
		{`SELECT count(*)::text FROM public.strunk_horizon WHERE holder = 'nobody'`, "0"},
	} {
		if got := queryOne[string](t, pool, c.sql); got != c.want {
			t.Errorf("%s: %q, want %q", c.sql, got, c.want)
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	box, _ := open(t)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"empty queue": func() error { _, err := ops.QueueStats(ctx, box, ""); return err },
		"NUL":         func() error { _, err := ops.QueueStats(ctx, box, "a\x00"); return err },
		"limit": func() error {
			_, err := ops.Queues(ctx, box,
				ops.Page{Limit: ops.MaxLimit + 1})
			return err
		},
		"negative limit": func() error { _, err := ops.Subscribers(ctx, box, ops.Page{Limit: -1}); return err },
		"after":          func() error { _, err := ops.Schedules(ctx, box, ops.Page{After: "\xff"}); return err },
		"queue and subscriber": func() error {
			_, err := ops.DeadLetters(ctx, box, outbox.DeadFilter{Queue: "a", Subscriber: "b"})
			return err
		},
		"a search": func() error {
			_, err := ops.DeadLetters(ctx, box, outbox.DeadFilter{Error: "timeout"})
			return err
		},
		"nil box":            func() error { _, err := ops.OverallStats(ctx, nil); return err },
		"nil box of workers": func() error { _, err := ops.Workers(ctx, nil, ops.WorkerFilter{}); return err },
	} {
		if err := call(); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Cancelled and discarded tasks are counted and listed by their own status, in Go, over HTTP and as metrics.
func TestCancelledIsNotDead(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}') FROM generate_series(1, 5) i`)
	exec(t, pool, `SELECT public.strunk_cancel(id, 'no') FROM public.strunk_outbox_tasks WHERE id <= 2`)
	exec(t, pool, `UPDATE public.strunk_outbox SET status = 'discarded', finished_at = now() WHERE id = 3`)
	exact := func(n int64) ops.Count { return ops.Count{N: n, Precision: ops.Exact} }
	q, err := ops.QueueStats(t.Context(), box, "emails")
	if err != nil || q.Dead != exact(0) || q.Cancelled != exact(2) || q.Discarded != exact(1) || q.Pending != exact(2) {
		t.Errorf("%+v, %v", q, err)
	}
	o, err := ops.OverallStats(t.Context(), box)
	if err != nil || o.Dead != exact(0) || o.Cancelled != exact(2) || o.Discarded != exact(1) {
		t.Errorf("%+v, %v", o, err)
	}
	for status, want := range map[string]string{"": "[]", "cancelled": "[1 2]", "discarded": "[3]"} {
		for _, of := range []string{"emails", ""} {
			list := get[ops.DeadLetterList](t, h, "/v1/dead-letters?queue="+of+"&status="+status)
			ids := []int64{}
			for _, d := range list.DeadLetters {
				ids = append(ids, d.ID)
			}
			if fmt.Sprint(ids) != want {
				t.Errorf("queue %q, status %q: %v, want %v", of, status, ids, want)
			}
		}
	}
	code, body, _ := do(t, h, request{method: "GET", path: "/v1/dead-letters?status=gone", token: readToken})
	if code != 400 {
		t.Errorf("an unknown status: %d %s", code, body)
	}
	code, body, _ = do(t, h, request{method: "POST", path: "/v1/dead-letters/retry", token: changeToken,
		body: `{"queue":"emails","status":"cancelled"}`})
	if code != 200 || queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox_tasks`) != 4 {
		t.Errorf("retry: %d %s", code, body)
	}
}
