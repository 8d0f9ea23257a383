package browsertest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
)

// one returns a value of the database.
func one[T any](t *testing.T, b *bed, sql string, args ...any) (v T) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// confirm fills in what an action asks for and confirms it. It must be answered with a view.
func (tb *tab) confirm(query string, fields map[string]string) {
	tb.t.Helper()
	tb.get("confirm?" + query)
	for name, value := range fields {
		ask[chromedp.Void](tb, `document.querySelector('main [name=`+name+`]').value = `+strconv.Quote(value))
	}
	tb.click("main form.confirm button")
	if problem := tb.text(".problem"); problem != "" {
		tb.t.Errorf("%s: %s", query, problem)
	}
}

// Each action does once what it says.
func testActions(t *testing.T, b *bed) {
	tb := b.open(t, b.operator)
	dead := one[[]int64](t, b, `SELECT array_agg(id ORDER BY id) FROM strunk_outbox_dead WHERE key = 'imports'`)
	waiting := one[[]int64](t, b, `SELECT array_agg(id ORDER BY id) FROM strunk_outbox WHERE key = 'reports'`)
	for _, c := range []struct {
		query  string
		fields map[string]string
		// did is true when it is done.
		did string
	}{
		{"op=pause_queue&queue=search", map[string]string{"reason": "a test"},
			`SELECT pause_reason = 'a test' FROM strunk_queues WHERE queue = 'search'`},
		{"op=resume_queue&queue=search", nil, `SELECT paused_at IS NULL FROM strunk_queues WHERE queue = 'search'`},
		{"op=hold_queue&queue=search", map[string]string{"for_seconds": "10m"},
			`SELECT count(*) = 1 FROM strunk_holds WHERE queue = 'search'`},
		{"op=lift_hold&queue=search", nil, `SELECT count(*) = 0 FROM strunk_holds WHERE queue = 'search'`},
		{fmt.Sprintf("op=retry_dead_letters&ids=%d", dead[0]), nil,
			fmt.Sprintf(`SELECT count(*) = 0 FROM strunk_outbox_dead WHERE id = %d`, dead[0])},
		{fmt.Sprintf("op=delete_tasks&ids=%d&ids=%d", dead[1], dead[2]), map[string]string{"typed": "2"},
			fmt.Sprintf(`SELECT count(*) = 0 FROM strunk_outbox WHERE id IN (%d, %d)`, dead[1], dead[2])},
		{fmt.Sprintf("op=reschedule_tasks&ids=%d", waiting[1]), map[string]string{"due_at": "2099-01-01T00:00"},
			fmt.Sprintf(`SELECT due_at = '2099-01-01 00:00 UTC' FROM strunk_outbox WHERE id = %d`, waiting[1])},
		{fmt.Sprintf("op=set_priority&ids=%d", waiting[1]), map[string]string{"priority": "7"},
			fmt.Sprintf(`SELECT priority = 7 FROM strunk_outbox WHERE id = %d`, waiting[1])},
		{fmt.Sprintf("op=cancel_task&id=%d", waiting[2]), map[string]string{"reason": "a test"},
			fmt.Sprintf(`SELECT status = 'cancelled' FROM strunk_outbox WHERE id = %d`, waiting[2])},
		{fmt.Sprintf("op=discard_tasks&ids=%d", waiting[3]), nil,
			fmt.Sprintf(`SELECT status = 'discarded' FROM strunk_outbox WHERE id = %d`, waiting[3])},
		{"op=disable_schedule&schedule=stock-take", nil,
			`SELECT NOT enabled FROM strunk_schedules WHERE id = 'stock-take'`},
		{"op=enable_schedule&schedule=stock-take", nil, `SELECT enabled FROM strunk_schedules WHERE id = 'stock-take'`},
		{"op=remove_schedule&schedule=night-cleanup", nil,
			`SELECT count(*) = 0 FROM strunk_schedules WHERE id = 'night-cleanup'`},
		{"op=pause_subscriber&subscriber=ledger", nil, `SELECT paused FROM strunk_subscribers WHERE name = 'ledger'`},
		{"op=resume_subscriber&subscriber=ledger", nil,
			`SELECT NOT paused FROM strunk_subscribers WHERE name = 'ledger'`},
	} {
		tb.confirm(c.query, c.fields)
		if !one[bool](t, b, c.did) {
			t.Errorf("%s: it is not done: %s\n%s", c.query, c.did, tb.text("main"))
		}
	}
}

// Without script, all dead letters that match are chosen, confirmed and retried; the job goes on without its tab.
func testBulkJob(t *testing.T, b *bed) {
	tb := b.open(t, b.operator)
	tb.withoutScript()
	tb.get("tasks?status=dead&queue=bulk")
	tb.click(`main .bar a[href*="op=job_retry"]`)
	if !tb.has("main", "300") {
		t.Errorf("the confirmation does not say how many:\n%s", tb.text("main"))
	}
	tb.click("main form.confirm button")
	job := ask[string](tb, `location.search`)
	if !tb.has("h1", "Bulk job") {
		t.Fatalf("no job is shown:\n%s", tb.text("main"))
	}
	tb.close()
	again := b.open(t, b.operator)
	testkit.EventuallyState(t, "the job is done", func() (string, bool) {
		text := again.get("job" + job).text("main")
		return text, strings.Contains(text, "100 %") && again.has("h1", "done")
	})
	if left := one[int](t, b, `SELECT count(*) FROM strunk_outbox_dead WHERE key = 'bulk'`); left != 0 {
		t.Errorf("%d dead letters are left", left)
	}
}

// Who may not change anything sees nothing to change it with, nor payloads.
func testReader(t *testing.T, b *bed) {
	tb := b.open(t, b.reader)
	for _, v := range views {
		if v.name == "confirm" {
			continue
		}
		tb.get(v.path)
		n := ask[int](tb, `document.querySelectorAll('form[method=post], a[href^="confirm"], button[name=op]').length`)
		if n != 0 {
			t.Errorf("%s: %d things to change something with", v.path, n)
		}
	}
	id := one[int64](t, b, `SELECT min(id) FROM strunk_outbox WHERE key = 'invoices'`)
	if tb.get(fmt.Sprintf("task?id=%d", id)).has("main", `"total"`) {
		t.Error("the payload is shown")
	}
}

// Whatever a payload, a name or an error holds is text.
func testMarkup(t *testing.T, b *bed) {
	tb := b.open(t, b.operator)
	id := one[int64](t, b, `SELECT id FROM strunk_outbox WHERE key LIKE '<img%'`)
	for _, c := range []struct{ path, shows string }{
		{fmt.Sprintf("task?id=%d", id), "</script><script>"},
		{"queues", "<img src=x"},
		{"tasks?status=dead&queue=search", "<script>alert(1)</script>"},
		{"entity?type=customer&id=c-1", "<i>Ann</i>"},
	} {
		if tb.get(c.path); !tb.has("main", c.shows) {
			t.Errorf("%s does not show %s:\n%s", c.path, c.shows, tb.text("main"))
		}
		if n := ask[int](tb, `document.querySelectorAll('img, i:not(.live i), main script').length`); n != 0 {
			t.Errorf("%s: there are %d elements of what is text", c.path, n)
		}
		if title := ask[string](tb, `document.title`); title == "run" {
			t.Errorf("%s: a script has run", c.path)
		}
	}
}
