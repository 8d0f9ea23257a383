package browsertest

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
)

// TestPage runs all tests of the page in one browser, on one database.
func TestPage(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, b *bed)
	}{
		{"views", testViews},
		{"actions", testActions},
		{"subscriber", testSubscriber},
		{"limits", testLimits},
		{"schedules", testSchedules},
		{"bulk job without script, through a closed tab", testBulkJob},
		{"job changes", testJobChanges},
		{"reader", testReader},
		{"markup", testMarkup},
		{"injected script is reported", testReports},
		{"live", testLive},
		{"new rows", testNewRows},
		{"rest", testRest},
		{"plots", testPlots},
		{"pause", testPause},
		{"keys", testKeys},
		{"keys that act", testKeysThatAct},
		{"database away", testDatabaseAway},
		{"server restart", testServerRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, b) })
	}
}

// views are all views, each with a text that it must show.
var views = []struct{ name, path, shows string }{
	{"now", "./", "invoices"},
	{"queues", "queues", "search"},
	{"queue", "queue?name=emails", "emails"},
	{"tasks", "tasks?status=dead&queue=emails", "no such mailbox"},
	{"task", "task?id=1", "invoices"},
	{"errors", "errors", "no such mailbox"},
	{"jobs", "jobs", "Bulk jobs"},
	{"events", "events", "search-indexer"},
	{"subscriber", "subscriber?name=ledger", "ledger"},
	{"entity", "entity?type=order&id=o-1", "o-1"},
	{"schedules", "schedules", "stock-take"},
	{"processes", "processes", "web-1"},
	{"contracts", "contracts", "order"},
	{"contract", "contract?subject=order", "1.1"},
	{"database", "database", "horizon"},
	{"audit", "audit", "Audit"},
	{"search", "search?q=emails", "emails"},
	{"confirm", "confirm?op=pause_queue&queue=emails", "strunk pause emails"},
}

// Each view is shown without a word on the console, fits into the screen, and breaks no rule of axe-core.
func testViews(t *testing.T, b *bed) {
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			tb := b.open(t, b.operator).get(v.path)
			if !tb.has("main", v.shows) {
				t.Fatalf("there is no %q in\n%s", v.shows, tb.text("main"))
			}
			tb.pause() // nothing changes while it is looked at
			tb.checkAxe("light at 1400 pixels", allRules)
			tb.theme("dark")
			tb.checkAxe("dark at 1400 pixels", shownRules)
			tb.do(chromedp.EmulateViewport(390, 900))
			tb.checkAxe("dark at 390 pixels", shownRules)
			tb.theme("light")
			tb.checkAxe("light at 390 pixels", shownRules)
			for _, width := range []int64{390, 768, 1400, 1600, 1920} {
				tb.do(chromedp.EmulateViewport(width, 900))
				tb.checkWidth()
			}
		})
	}
}

// checkWidth checks that the page does not scroll sideways.
func (tb *tab) checkWidth() {
	tb.t.Helper()
	if over := ask[int](tb, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
		tb.t.Errorf("the page is %d pixels too wide for %d", over, ask[int](tb, `innerWidth`))
	}
}

// pause presses the button Pause, where there is one.
func (tb *tab) pause() {
	tb.t.Helper()
	ask[chromedp.Void](tb, `document.querySelector('header button[aria-pressed=false]')?.click()`)
}

// The policy holds, and these tests see what breaks it.
func testReports(t *testing.T, b *bed) {
	tb := b.open(t, b.operator)
	tb.get("./")
	ask[any](tb, `{ const s = document.createElement('script'); s.textContent = 'document.title = "run"';
		document.body.append(s); document.body.insertAdjacentHTML('beforeend', '<p style="color:red">x</p>'); null }`)
	testkit.Eventually(t, "both are reported", func() bool {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		return len(tb.said) >= 2
	})
	tb.expect("script-src")
	tb.expect("style-src")
	if title := ask[string](tb, `document.title`); title == "run" {
		t.Error("an inline script has run")
	}
}
