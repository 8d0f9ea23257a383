package browsertest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox/outboxtest"

	"github.com/jackc/pgx/v5/pgxpool"
)

// exec changes the database behind the page.
func (b *bed) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// row is the selector of a queue's row.
func row(queue string) string { return `tr[id="q-` + queue + `"]` }

// away moves the pointer off everything that rests under it.
func (tb *tab) away() { tb.do(chromedp.MouseEvent("mouseMoved", 5, 5)) }

// over moves the pointer over an element.
func (tb *tab) over(selector string) {
	tb.t.Helper()
	at := ask[[]float64](tb, `(() => { const r = document.querySelector('`+selector+`').getBoundingClientRect();
		return [r.x + 20, r.y + r.height / 2] })()`)
	tb.do(chromedp.MouseEvent("mouseMoved", at[0], at[1]))
}

// A cell changes in place: the row's element stays, and what the reader opened does too.
func testLive(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("./")
	tb.away()
	tb.soon("header .live", "live")
	before := tb.text(row("thumbnails"))
	ask[any](tb, `window.kept = document.querySelector('`+row("thumbnails")+`'), null`)
	b.exec(t, `SELECT strunk_enqueue('thumbnails', '{}') FROM generate_series(1, 3)`)
	testkit.EventuallyState(t, "the row counts three more", func() (string, bool) {
		now := tb.text(row("thumbnails"))
		return now, now != before && strings.Contains(now, "93")
	})
	if !ask[bool](tb, `window.kept.isConnected`) {
		t.Error("the row is another element")
	}
}

// A new row waits behind a button, and comes when it is asked for.
func testNewRows(t *testing.T, b *bed) {
	b.exec(t, `SELECT strunk_enqueue('arriving', '{}')`)
	tb := b.open(t, b.operator).get("tasks?queue=arriving")
	tb.away()
	rows := func() int { return ask[int](tb, `document.querySelectorAll('tbody tr').length`) }
	b.exec(t, `SELECT strunk_enqueue('arriving', '{}') FROM generate_series(1, 2)`)
	tb.soon("[data-news]", "2 new")
	if n := rows(); n != 1 {
		t.Errorf("there are %d rows before anybody asked for the new ones; want 1", n)
	}
	tb.press("[data-news]")
	testkit.Eventually(t, "the new rows come", func() bool { return rows() == 3 })
	if tb.text("[data-news]") != "" {
		t.Error("the button is still there")
	}
	b.exec(t, `WITH gone AS (DELETE FROM strunk_outbox WHERE key = 'arriving')
		SELECT strunk_enqueue('arriving', '{}') FROM generate_series(1, 2)`)
	testkit.EventuallyState(t, "where no row is left, the new ones come at once", func() (string, bool) {
		return tb.text("main"), rows() == 2 && tb.text("[data-news]") == ""
	})
}

// A plot says what it shows at the pointer and when that was, and does not change under it.
func testPlots(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("queue?name=search")
	tb.away()
	tb.soon("header .live", "live")
	now := tb.text("figcaption b")
	testkit.EventuallyState(t, "the plot says what was at the pointer", func() (string, bool) {
		tb.over(".plot") // again, where the view has moved
		said := tb.text("figcaption b")
		return said, regexp.MustCompile(`^(\d\d-\d\d )?\d\d:\d\d · [\d.]+/(s|min)$`).MatchString(said)
	})
	b.exec(t, `SELECT strunk_enqueue('search', '{}')`)
	tb.soon("header .live", "resting")
	tb.away()
	testkit.EventuallyState(t, "it says what is now", func() (string, bool) {
		said := tb.text("figcaption b")
		return said + ", before " + now, !strings.Contains(said, ":")
	})
}

// Nothing changes under the pointer, nor while a field is filled in; it does afterwards.
func testRest(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("./")
	tb.soon("header .live", "live")
	tb.over(row("invoices"))
	b.exec(t, `SELECT strunk_enqueue('invoices', '{}') FROM generate_series(1, 700)`)
	tb.soon("header .live", "resting")
	before := tb.text(row("invoices"))
	tb.away()
	testkit.EventuallyState(t, "the row changes when the pointer has left", func() (string, bool) {
		now := tb.text(row("invoices"))
		return now, now != before
	})

	tb.get("tasks?queue=arriving")
	tb.soon("header .live", "live")
	tb.do(chromedp.SendKeys(chromedp.CSS("main input[name=error]"), "typed"))
	b.exec(t, `SELECT strunk_enqueue('arriving', '{}')`)
	tb.soon("header .live", "resting")
	if typed := ask[string](tb, `document.querySelector('main input[name=error]').value`); typed != "typed" {
		t.Errorf("the field has %q", typed)
	}
}

// The button Pause keeps the view as it is, until it is pressed again.
func testPause(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("tasks?queue=arriving")
	tb.away()
	tb.soon("header .live", "live")
	tb.press("header button[aria-pressed]")
	tb.away()
	tb.soon("header .live", "paused")
	b.exec(t, `SELECT strunk_enqueue('arriving', '{}')`)
	if ask[bool](tb, `new Promise((done) => setTimeout(() => done(!!document.querySelector('[data-news]')), 2500))`) {
		t.Error("the view has changed while it was paused")
	}
	tb.press("header button[aria-pressed]")
	tb.away()
	tb.soon("[data-news]", "1 new")
}

// Keys move, search and help; none does anything in a field.
func testKeys(t *testing.T, b *bed) {
	tb := b.open(t, b.operator).get("tasks")
	tb.soon("header .live", "live") // the script runs
	tb.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"), chromedp.KeyEvent("j"))
	if at := ask[int](tb, `[...document.querySelectorAll('tbody tr')].findIndex((r) => r.matches('[data-here]') &&
		r.contains(document.activeElement))`); at != 1 {
		t.Errorf("the keys j j k j lead to row %d; want 1", at)
	}
	tb.do(chromedp.KeyEvent("?"))
	if !ask[bool](tb, `document.getElementById('keys').open`) {
		t.Error("? shows no help")
	}
	tb.checkAxe("the keys", allRules)
	tb.do(chromedp.KeyEvent("\x1b"), chromedp.KeyEvent("/"), chromedp.KeyEvent("?"), chromedp.KeyEvent("j"))
	if !ask[bool](tb, `document.activeElement.type === 'search' && document.activeElement.value.endsWith('?j') &&
		!document.getElementById('keys').open`) {
		t.Errorf("the search field has %q; want what was typed", ask[string](tb, `document.activeElement.value`))
	}
}

// Where the database is away the view says how old it is, and goes on when the database is back.
func testDatabaseAway(t *testing.T, b *bed) {
	proxy := faults.NewProxy(t, outboxtest.DSN(b.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(b.pool))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	tb := b.open(t, b.serve(t, openBox(t, pool), ops.PermissionRead)).get("./")
	tb.away()
	tb.soon("header .live", "live")
	proxy.Down()
	tb.soon(".banner", "The database does not answer")
	if !tb.has(row("thumbnails"), "thumbnails") || !ask[bool](tb, `document.documentElement.matches('.stale')`) {
		t.Error("the view is not kept, or does not look old")
	}
	tb.checkAxe("an old view", shownRules)
	proxy.Up()
	b.exec(t, `SELECT strunk_enqueue('thumbnails', '{}') FROM generate_series(1, 400)`)
	testkit.EventuallyState(t, "the view is live again", func() (string, bool) {
		return tb.text(".banner") + tb.text(row("thumbnails")),
			tb.text(".banner") == "" && tb.has("header .live", "live")
	})
	tb.expect("503")
}

// A restart of the server shows a banner, and the page goes on by itself.
func testServerRestart(t *testing.T, b *bed) {
	h := handler(t, b.box, ops.PermissionRead)
	server := httptest.NewServer(h)
	tb := b.open(t, server).get("./")
	tb.away()
	tb.soon("header .live", "live")
	address := server.Listener.Addr().String()
	server.CloseClientConnections()
	server.Close()
	tb.soon(".banner", "The server does not answer")
	tb.expect("ERR_CONNECTION_REFUSED")
	tb.expect("ERR_")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := &http.Server{Handler: h}
	go again.Serve(listener)
	t.Cleanup(func() { again.Close() })
	testkit.EventuallyState(t, "the view is live again", func() (string, bool) {
		return tb.text(".banner"), tb.text(".banner") == "" && tb.has("header .live", "live")
	})
}
