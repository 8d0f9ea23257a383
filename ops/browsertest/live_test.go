package browsertest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
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
	tb.do(chromedp.Click(chromedp.CSS("[data-news]")))
	testkit.Eventually(t, "the new rows come", func() bool { return rows() == 3 })
	if tb.text("[data-news]") != "" {
		t.Error("the button is still there")
	}
}
