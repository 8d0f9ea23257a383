package queue_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// Each cause that keeps a task from running is named, with what an operator has to know of it.
func TestWhy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var role string
	if err := b.pool.QueryRow(t.Context(), `SELECT session_user`).Scan(&role); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, reason string
		limits       queue.Limits
		// prepare brings about the cause for task $1 of queue $2, whose key has another task, $3.
		prepare []string
		want    queue.Reason // but for the times and the text
		text    string
	}{
		{"ended", "nothing is to come", queue.Limits{},
			[]string{`SELECT public.strunk_cancel($1)`},
			queue.Reason{Cause: queue.CauseEnded, Name: "cancelled"}, "the task has ended: cancelled 0s ago"},
		{"running", "a worker has it", queue.Limits{}, []string{worker, claim},
			queue.Reason{Cause: queue.CauseRunning, Name: "web-1/42", N: 1},
			"worker web-1/42 has it, attempt 1, claimed 0s ago"},
		{"cancelling", "its handler has not ended yet", queue.Limits{},
			[]string{worker, claim, `SELECT public.strunk_cancel($1, 'a mistake')`},
			queue.Reason{Cause: queue.CauseCancelling, Name: "cancelled: a mistake"},
			"it is being cancelled 0s ago: cancelled: a mistake"},
		{"worker lost", "the rescue has not come yet", queue.Limits{}, []string{worker, claim,
			`UPDATE public.strunk_workers SET heartbeat_at = now() - interval '2 hours' WHERE queue = $2`},
			queue.Reason{Cause: queue.CauseWorkerLost, Name: "web-1/42", N: 1},
			"worker web-1/42 has it and was last heard of 2h0m0s ago: the rescue will give it back"},
		{"due later", "it was delayed", queue.Limits{}, []string{`UPDATE public.strunk_outbox_tasks
			SET status = 'scheduled', due_at = now() + interval '1 day' WHERE id = $1`},
			queue.Reason{Cause: queue.CauseDueLater}, "it is due in 24h0m0s"},
		{"retry", "it failed", queue.Limits{}, []string{`UPDATE public.strunk_outbox_tasks SET status = 'scheduled',
			attempts = 3, last_error = 'no route', due_at = now() + interval '1 day' WHERE id = $1`},
			queue.Reason{Cause: queue.CauseDueLater, N: 3, Name: "no route"},
			"it was tried 3 times and is due again in 24h0m0s; the last error: no route"},
		{"first retry", "it failed once", queue.Limits{}, []string{`UPDATE public.strunk_outbox_tasks
			SET status = 'scheduled', attempts = 1, last_error = 'no route', due_at = now() + interval '1 day'
			WHERE id = $1`},
			queue.Reason{Cause: queue.CauseDueLater, N: 1, Name: "no route"},
			"it was tried once and is due again in 24h0m0s; the last error: no route"},
		{"promoter behind", "nobody makes due tasks pending", queue.Limits{}, []string{worker,
			`UPDATE public.strunk_outbox_tasks SET status = 'scheduled', due_at = now() WHERE id = $1`},
			queue.Reason{Cause: queue.CausePromoterBehind},
			"it became due 0s ago, and no process runs the promoter, or it is behind"},
		{"paused", "by whom it says", queue.Limits{}, []string{worker, `SET application_name = 'ann'`,
			`SELECT public.strunk_pause_queue($2)`},
			queue.Reason{Cause: queue.CausePaused, Name: role + ", ann"},
			"the queue was paused 0s ago by " + role + ", ann"},
		{"paused for a reason", "it says which", queue.Limits{}, []string{worker,
			`SELECT public.strunk_pause_queue($2, 'the provider is down', 'carl')`},
			queue.Reason{Cause: queue.CausePaused, Name: "carl: the provider is down"},
			"the queue was paused 0s ago by carl: the provider is down"},
		{"held", "until a time, by whom it says", queue.Limits{}, []string{worker, `SET application_name = 'ann'`,
			`SELECT public.strunk_hold($2, now() + interval '1 hour', '', 'the provider is down')`},
			queue.Reason{Cause: queue.CauseHeld, Name: role + ", ann"},
			"the queue is on hold, which ends in 1h0m0s, by " + role + ", ann"},
		{"key held", "its customer alone is", queue.Limits{}, []string{worker,
			`SELECT public.strunk_hold($2, now() + interval '1 hour', 'acme', '', 'task 7, web-1/42')`},
			queue.Reason{Cause: queue.CauseKeyHeld, Name: "task 7, web-1/42"},
			"its key is on hold, which ends in 1h0m0s, by task 7, web-1/42"},
		{"no worker", "no process works it", queue.Limits{}, nil,
			queue.Reason{Cause: queue.CauseNoWorker, Name: "why no worker"},
			`no process works the queue "why no worker"`},
		{"key full", "the other has the slot", queue.Limits{RunningPerKey: 1}, []string{worker,
			`UPDATE public.strunk_outbox_tasks SET admitted = true, slot = 1, status = 'claimed', attempts = 2,
				worker_id = 77, claim_no = 1 WHERE id = $3`},
			queue.Reason{Cause: queue.CauseKeyFull, Name: "claimed", N: 2},
			"its key's slot is held by task OTHER (claimed, attempt 2)"},
		{"key in order", "the other is tried again first", queue.Limits{FIFO: true}, []string{worker,
			`UPDATE public.strunk_outbox_tasks SET status = 'scheduled', attempts = 3, backlog_seq = seq,
				due_at = now() + interval '1 day' WHERE id = $3`},
			queue.Reason{Cause: queue.CauseKeyFull, Name: "scheduled", N: 3},
			"its key's slot is held by task OTHER (attempt 4, due in 24h0m0s)"},
		{"key held by dead", "in order, behind a dead letter", queue.Limits{FIFO: true, HoldDead: true},
			[]string{worker, `UPDATE public.strunk_outbox SET status = 'dead', finished_at = now(), backlog_seq = seq
				WHERE id = $3`},
			queue.Reason{Cause: queue.CauseKeyHeldByDead},
			"dead letter OTHER keeps its key waiting 0s ago: retry or purge it"},
		{"key rate", "one a day", queue.Limits{RatePerKey: queue.Rate{Count: 1, Per: 24 * time.Hour}},
			[]string{worker, `DELETE FROM public.strunk_outbox_tasks WHERE id = $3`,
				`INSERT INTO public.strunk_rates (queue, customer_key, until_us)
				VALUES ($2, 'acme', extract(epoch FROM now() + interval '1 day') * 1000000)`},
			queue.Reason{Cause: queue.CauseKeyRate}, "the rate of its key lets the next task begin in 24h0m0s"},
		{"rate of one key", "two an hour", queue.Limits{RatePerKey: queue.Rate{Count: 1, Per: 24 * time.Hour}},
			[]string{worker, `DELETE FROM public.strunk_outbox_tasks WHERE id = $3`,
				`INSERT INTO public.strunk_rates (queue, customer_key, until_us)
				VALUES ($2, 'acme', extract(epoch FROM now() + interval '3 days') * 1000000)`,
				`SELECT public.strunk_set_key_limits($2, 'acme', rate => 1, rate_per => '1 hour', rate_burst => 2)`},
			queue.Reason{Cause: queue.CauseKeyRate}, "the rate of its key lets the next task begin in 1h0m0s"},
		{"behind in key", "the other came first", queue.Limits{RunningPerKey: 1}, []string{worker},
			queue.Reason{Cause: queue.CauseBehindInKey, N: 1}, "1 task of its key comes first"},
		{"behind in turn", "the key of another comes first", queue.Limits{Fair: true}, []string{worker,
			`DELETE FROM public.strunk_outbox_tasks WHERE id = $3`,
			`INSERT INTO public.strunk_turns (at, n, queue, customer_key)
				VALUES (1, 1, $2, 'globex'), (2, 2, $2, 'acme')`},
			queue.Reason{Cause: queue.CauseBehindInTurn, N: 1}, "its key waits its turn: 1 before it"},
		{"queue full", "the other runs", queue.Limits{Running: 1}, []string{worker, admit,
			`UPDATE public.strunk_outbox_tasks SET status = 'claimed', attempts = 2, claim_no = 1, claimed_at = now(),
				worker_id = (SELECT id FROM public.strunk_workers WHERE queue = $2) WHERE id = $3`},
			queue.Reason{Cause: queue.CauseQueueFull, Name: "claimed", N: 2},
			"the limit of the queue is used up: task OTHER runs, attempt 2, claimed 0s ago"},
		{"queue rate", "one a day", queue.Limits{Rate: queue.Rate{Count: 1, Per: 24 * time.Hour}},
			[]string{worker, admit, `INSERT INTO public.strunk_rates (queue, customer_key, until_us)
				VALUES ($2, '', extract(epoch FROM now() + interval '1 day') * 1000000)`},
			queue.Reason{Cause: queue.CauseQueueRate}, "the rate of the queue lets the next task begin in 24h0m0s"},
		{"workers busy", "the one worker has the other", queue.Limits{}, []string{worker,
			`UPDATE public.strunk_workers SET concurrency = 1 WHERE queue = $2`,
			`UPDATE public.strunk_outbox_tasks SET status = 'claimed', claim_no = 1,
				worker_id = (SELECT id FROM public.strunk_workers WHERE queue = $2) WHERE id = $3`},
			queue.Reason{Cause: queue.CauseWorkersBusy, N: 1}, "all workers are busy: they handle 1 at once"},
		{"higher priority", "the other goes first", queue.Limits{}, []string{worker,
			`UPDATE public.strunk_outbox_tasks SET priority = 9 WHERE id = $3`},
			queue.Reason{Cause: queue.CauseHigherPriority, N: 1}, "1 task of a higher priority comes first"},
		{"behind", "the other came first", queue.Limits{}, []string{worker},
			queue.Reason{Cause: queue.CauseBehind, N: 1}, "1 task of its priority comes first"},
	} {
		q := queue.Define[note]("why "+c.name, queue.Config{})
		other := put(b, q, note{"other"}, queue.CustomerKey("acme"))
		id := put(b, q, note{c.name}, queue.CustomerKey("acme"))
		if c.limits == (queue.Limits{}) {
			c.prepare = append([]string{admit}, c.prepare...)
		} else if err := q.SetLimits(t.Context(), b.box, c.limits); err != nil {
			t.Fatal(err)
		}
		prepareWhy(b, q.Name(), id, other, c.prepare)
		if c.want.Cause == queue.CauseKeyFull || c.want.Cause == queue.CauseKeyHeldByDead ||
			c.want.Cause == queue.CauseQueueFull {
			c.want.TaskID = other
		}
		checkWhy(b, q.Name(), id, c.want, c.text, c.name+": "+c.reason)
	}
	_, err := queue.Why(t.Context(), b.box, "", 424242)
	wantError(t, err, queue.ErrNotFound)
	_, err = queue.Why(t.Context(), b.box, "another queue", 1)
	wantError(t, err, queue.ErrNotFound)
}

// What TestWhy does to its tasks more than once.
const (
	worker = `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
		VALUES ($1::bigint + 1000000, 3600000, 42, 8, $2, 'web-1')`
	claim = `UPDATE public.strunk_outbox_tasks SET status = 'claimed', attempts = 1, claim_no = 1,
		worker_id = id + 1000000, claimed_at = now() WHERE id = $1`
	admit = `UPDATE public.strunk_outbox_tasks SET admitted = true WHERE key = $2`
)

// prepareWhy runs statements on one connection. Each may use the task ($1), the queue ($2) and the other task ($3).
func prepareWhy(b *bed, queueName string, id, other int64, statements []string) {
	b.t.Helper()
	conn, err := b.pool.Acquire(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range statements {
		args := strings.NewReplacer("$1", strconv.FormatInt(id, 10), "$2", "'"+queueName+"'",
			"$3", strconv.FormatInt(other, 10))
		if _, err := conn.Exec(b.t.Context(), args.Replace(sql)); err != nil {
			b.t.Fatalf("%s: %v", sql, err)
		}
	}
	if _, err := conn.Exec(b.t.Context(), `RESET application_name`); err != nil {
		b.t.Fatal(err)
	}
}

// seconds are what a slow machine adds to an age, and takes from a wait.
var seconds = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b`)

func checkWhy(b *bed, queueName string, id int64, want queue.Reason, text, name string) {
	b.t.Helper()
	reasons, err := queue.Why(b.t.Context(), b.box, queueName, id)
	if err != nil || len(reasons) == 0 {
		b.t.Errorf("%s: %+v, %v", name, reasons, err)
		return
	}
	got := reasons[0]
	steady := func(s string) string { return seconds.ReplaceAllString(s, "TIME") }
	if said := strings.ReplaceAll(got.Text, fmt.Sprintf("task %d", want.TaskID), "task OTHER"); steady(
		strings.ReplaceAll(said, fmt.Sprintf("letter %d", want.TaskID), "letter OTHER")) != steady(text) {
		b.t.Errorf("%s: says %q, want %q", name, got.Text, text)
	}
	got.Text, got.Since, got.Until = "", nil, nil
	if got != want {
		b.t.Errorf("%s: %+v, want %+v", name, got, want)
	}
}
