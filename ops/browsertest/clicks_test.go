package browsertest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
)

// follow clicks an action's link in the view and, having filled in its fields, confirms it. The confirmation must
// show a text, and the answer must be a view.
func (tb *tab) follow(link, shows string, fields map[string]string) {
	tb.t.Helper()
	tb.click("main " + link)
	if !tb.has("main", shows) {
		tb.t.Errorf("the confirmation of %s does not show %q:\n%s", link, shows, tb.text("main"))
	}
	tb.fill(fields)
	tb.click("main form.confirm button")
	if problem := tb.text(".problem"); problem != "" {
		tb.t.Errorf("%s: %s", link, problem)
	}
}

// fill fills in fields of the view.
func (tb *tab) fill(fields map[string]string) {
	tb.t.Helper()
	for name, value := range fields {
		ask[chromedp.Void](tb, `document.querySelector('main [name="`+name+`"]').value = `+strconv.Quote(value))
	}
}

// holds fails the test where the database does not say true.
func (b *bed) holds(t *testing.T, what, sql string, args ...any) {
	t.Helper()
	if !one[bool](t, b, sql, args...) {
		t.Errorf("%s: not true: %s", what, sql)
	}
}

// link is the selector of the link to an action, of what its query names too.
func link(op string, of ...string) string {
	selector := `a[href*="op=` + op + `&"]`
	for _, part := range of {
		selector += `[href*="` + part + `"]`
	}
	return selector
}

// What fails for a subscriber is skipped, retried and given up from its view; a replay is counted before it is done,
// and a reset says where the cursor was.
func testSubscriber(t *testing.T, b *bed) {
	testkit.Eventually(t, "the events are in the feed", func() bool {
		return one[int](t, b, `SELECT count(*) FROM strunk_outbox_delivered_events WHERE key = 'order'`) == 60
	})
	b.exec(t, `UPDATE strunk_subscribers SET cursor = p.at, started = p.at FROM (SELECT max(position) AS at
		FROM strunk_outbox_delivered_events WHERE key = 'order') p WHERE name IN ('ledger', 'search-indexer')`)
	b.exec(t, `INSERT INTO strunk_outbox_deliveries (id, seq, position, version, created_at, attempts, status, kind,
		key, entity_id, subscriber, last_error, payload)
		SELECT nextval('strunk_outbox_id_seq'), position, position, version, created_at, 12, 'scheduled', 'delivery',
			key, entity_id, 'ledger', 'boom', payload
		FROM strunk_outbox_delivered_events WHERE key = 'order' AND entity_id IN ('o-1', 'o-2', 'o-3') AND version = 1`)
	b.exec(t, `INSERT INTO strunk_retries (position, attempts, subscriber, entity_id, last_error)
		SELECT s.cursor + 1, 7, 'search-indexer', 'o-9', 'no such index' FROM strunk_subscribers s
		WHERE name = 'search-indexer'`)
	const state = `SELECT count(*) = 1 FROM strunk_outbox_deliveries WHERE subscriber = 'ledger' AND entity_id = $1
		AND status = $2`

	tb := b.open(t, b.operator).get("subscriber?name=search-indexer")
	tb.follow(link("skip_event"), "which has failed 7 times: no such index", nil)
	b.holds(t, "skip", `SELECT skip FROM strunk_retries WHERE subscriber = 'search-indexer'`)

	cursor := one[int64](t, b, `SELECT cursor FROM strunk_subscribers WHERE name = 'search-indexer'`)
	tb.get("subscriber?name=search-indexer")
	tb.fill(map[string]string{"from": fmt.Sprint(cursor - 9)})
	tb.click(`main form[action=confirm] button`)
	again := one[int64](t, b, `SELECT count(*) FROM strunk_outbox_delivered_events WHERE key = 'order'
		AND position BETWEEN $1 AND $2`, cursor-9, cursor)
	for _, shows := range []string{fmt.Sprintf("from position %d to %d", cursor, cursor-9),
		fmt.Sprint(again, " in all")} {
		if !tb.has("main", shows) {
			t.Errorf("the preview of a replay does not show %q:\n%s", shows, tb.text("main"))
		}
	}
	tb.click("main form.confirm button")
	b.holds(t, "replay", `SELECT cursor = $1 FROM strunk_subscribers WHERE name = 'search-indexer'`, cursor-10)
	if !tb.has(".notice", fmt.Sprint("the cursor was at ", cursor)) {
		t.Errorf("after the replay: %q", tb.text(".notice"))
	}
	tb.follow(link("reset_subscriber"), fmt.Sprint("cursor is at ", cursor-10), nil)
	b.holds(t, "reset", `SELECT cursor = 0 FROM strunk_subscribers WHERE name = 'search-indexer'`)
	if !tb.has(".notice", fmt.Sprint("the cursor was at ", cursor-10)) {
		t.Errorf("after the reset: %q", tb.text(".notice"))
	}

	tb.get("subscriber?name=ledger")
	tb.follow(link("retry_parked", "entity_id=o-1&"), "entity o-1", nil)
	b.holds(t, "retry one", state, "o-1", "pending")
	b.holds(t, "retry one alone", state, "o-2", "scheduled")
	tb.follow(link("release_parked", "entity_id=o-2&"), "becomes a dead letter", nil)
	b.holds(t, "give up", `SELECT count(*) = 1 FROM strunk_outbox_dead WHERE subscriber = 'ledger'
		AND entity_id = 'o-2'`)
	tb.follow(link("retry_all_parked"), "2 in all", nil)
	b.holds(t, "retry all", state, "o-3", "pending")
}

// Limits are changed from a form that begins with those in force, and those of one customer key beside them.
func testLimits(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("queue?name=search")
	tb.follow(link("set_limits"), "These are all limits of search",
		map[string]string{"running": "6", "rate.burst": "3", "running_per_key": "2"})
	b.holds(t, "limits", `SELECT running = 6 AND rate = 100 AND rate_burst = 3 AND rate_us = 60000000
		FROM strunk_limits WHERE queue = 'search'`)
	if !tb.has("main", "100 in 1m, of which 3 at once") {
		t.Errorf("the queue does not show its limits:\n%s", tb.text("main"))
	}
	tb.follow(link("set_key_limits"), "These are the limits of the customer key in search",
		map[string]string{"customer_key": "acme & co", "running": "4"})
	b.holds(t, "limits of a key", `SELECT running = 4 AND weight IS NULL FROM strunk_key_limits
		WHERE queue = 'search' AND customer_key = 'acme & co'`)
	tb.follow(link("delete_key_limits"), "as all others of search", nil)
	b.holds(t, "no limits of a key", `SELECT count(*) = 0 FROM strunk_key_limits`)
	tb.follow(link("delete_limits"), "Nothing limits search any more", nil)
	b.holds(t, "no limits", `SELECT count(*) = 0 FROM strunk_limits WHERE queue = 'search'`)
}

// A schedule is run, disabled and enabled from the list.
func testSchedules(t *testing.T, b *bed) {
	const of, enabled = "schedule=stock-take&", `SELECT enabled = $1 FROM strunk_schedules WHERE id = 'stock-take'`
	tb := b.open(t, b.operator).get("schedules")
	tb.follow(link("run_schedule", of), "one task is enqueued now", nil)
	id := one[int64](t, b, `SELECT coalesce(max(id), 0) FROM strunk_outbox WHERE key = 'reports'
		AND payload ->> 'kind' = 'daily'`)
	if id == 0 || !tb.has(".notice", fmt.Sprint(id)) {
		t.Errorf("run now: the task is %d, the notice %q", id, tb.text(".notice"))
	}
	tb.follow(link("disable_schedule", of), "until it is enabled", nil)
	b.holds(t, "disable", enabled, false)
	tb.follow(link("enable_schedule", of), "goes on with its next due time", nil)
	b.holds(t, "enable", enabled, true)
}

// A bulk job is stopped, gets another rate, and goes on.
func testJobChanges(t *testing.T, b *bed) {
	b.exec(t, `INSERT INTO strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status, kind, key,
		last_error, payload)
		SELECT nextval('strunk_outbox_id_seq'), i, now(), now(), 3, 'dead', 'task', 'slow-job', 'full', '{}'
		FROM generate_series(1, 50) i`)
	const left = `SELECT count(*) FROM strunk_outbox_dead WHERE key = 'slow-job'`
	tb := b.open(t, b.operator).get("tasks?status=dead&queue=slow-job")
	tb.follow(link("job_retry"), "50 in all", map[string]string{"per_second": "0.01"})
	id := ask[string](tb, `new URLSearchParams(location.search).get('id')`)
	tb.follow(link("stop_job"), "It stops after the slice under way", nil)
	b.holds(t, "stop", `SELECT state = 'stopped' FROM strunk_bulk_jobs WHERE id = $1::text::bigint`, id)
	if n := one[int](t, b, left); n < 45 {
		t.Errorf("%d of 50 are left after a job at one in 100 s was stopped", n)
	}
	tb.follow(link("set_job_rate"), "jobs rate "+id, map[string]string{"per_second": "1000"})
	b.holds(t, "rate", `SELECT per_second = 1000 FROM strunk_bulk_jobs WHERE id = $1::text::bigint`, id)
	tb.follow(link("resume_job"), "It goes on where it was", nil)
	testkit.Eventually(t, "the job goes on at its new rate", func() bool { return one[int](t, b, left) == 0 })
}

// x selects the row, and r leads to what retries the selection.
func testKeysThatAct(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("tasks?status=dead&queue=imports")
	tb.soon("header .live", "live") // the script runs
	selected := func() string {
		return ask[string](tb, `[...document.querySelectorAll('tbody input:checked')].map((box) => box.value).join()`)
	}
	tb.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"),
		chromedp.KeyEvent("x"))
	first := ask[string](tb, `document.querySelector('tbody tr input').value`)
	if got := selected(); got != first {
		t.Errorf("the keys j x j x x select %q; want %s", got, first)
	}
	if !tb.has("[data-selected]", "1 selected") {
		t.Errorf("%q is said to be selected; want 1", tb.text("[data-selected]"))
	}
	tb.do(chromedp.KeyEvent("r"))
	tb.soon("h1", "Retry")
	if query := ask[string](tb, `location.search`); !strings.Contains(query, "op=retry_dead_letters") ||
		!strings.Contains(query, "ids="+first) || !tb.has("main", "1 in all") {
		t.Errorf("r leads to %s:\n%s", query, tb.text("main"))
	}
	tb.click("main form.confirm button")
	b.holds(t, "the key r", `SELECT count(*) = 0 FROM strunk_outbox_dead WHERE id = $1::text::bigint`, first)
}
