package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
)

// tab is a tab of the browser with cookies of its own. A test fails by whatever its console says, reports of the
// Content-Security-Policy included, but for what the test expects.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	said     []string
	expected []string
	close    context.CancelFunc
}

// open opens a tab for a page. It is closed at the end of the test, or by close.
func (b *bed) open(t *testing.T, page *httptest.Server) *tab {
	t.Helper()
	tb := &tab{t: t, url: page.URL + "/"}
	ctx, cancel := chromedp.NewContext(b.browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(tb.hear))
	tb.ctx, tb.close = ctx, cancel
	t.Cleanup(func() {
		tb.close()
		tb.check()
	})
	if err := chromedp.Do(ctx); err != nil { // with the context that the tab lives as long as
		t.Fatal(err)
	}
	tb.do(chromedp.EmulateViewport(1400, 900))
	return tb
}

// hear keeps what the console and the browser's log say that is not calm.
func (tb *tab) hear(event any) {
	said := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		switch e.Type {
		case runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning,
			runtime.ConsoleAPICalledTypeAssert:
			said = "console: " + fmt.Sprint(e.Type)
			for _, arg := range e.Args {
				said += " " + string(arg.Value) + arg.Description
			}
		}
	case *runtime.EventExceptionThrown:
		said = "exception: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			said += " " + thrown.Description
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			said = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if said != "" {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		tb.said = append(tb.said, said)
	}
}

// expect allows what contains a text to be said.
func (tb *tab) expect(text string) { tb.expected = append(tb.expected, text) }

func (tb *tab) check() {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, said := range tb.said {
		allowed := false
		for _, text := range tb.expected {
			allowed = allowed || strings.Contains(said, text)
		}
		if !allowed {
			tb.t.Errorf("the browser says: %s", said)
		}
	}
}

// bounded bounds what is done in the tab.
func (tb *tab) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(tb.ctx, testkit.Soon)
}

// do does what must succeed.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := tb.bounded()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// get loads a view, which must be answered with 200.
func (tb *tab) get(path string) *tab {
	tb.t.Helper()
	ctx, cancel := tb.bounded()
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, chromedp.Navigate(tb.url+path))
	if err != nil {
		tb.t.Fatalf("%s: %v", path, err)
	}
	if answer != nil && answer.Status != http.StatusOK {
		tb.t.Fatalf("%s: %d\n%s", path, answer.Status, tb.text("body"))
	}
	return tb
}

// ask evaluates an expression in the tab.
func ask[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := tb.bounded()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("%s: %v", shortened(expression), err)
	}
	return v
}

// text is what the reader sees of the first element that a selector names; empty where there is none.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return ask[string](tb, `document.querySelector(`+strconv.Quote(selector)+`)?.innerText ?? ""`)
}

// has reports whether the first element that a selector names shows a text.
func (tb *tab) has(selector, text string) bool { return strings.Contains(tb.text(selector), text) }

// soon waits until an element shows a text.
func (tb *tab) soon(selector, text string) {
	tb.t.Helper()
	testkit.EventuallyState(tb.t, selector+" shows "+text, func() (string, bool) {
		got := tb.text(selector)
		return got, strings.Contains(got, text)
	})
}

// click clicks what a selector names, as a mouse does, and waits for the view that this loads.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	ctx, cancel := tb.bounded()
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	for again := 0; again < 3 && err != nil && strings.Contains(err.Error(), goneNode); again++ {
		_, err = chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	}
	if err != nil {
		tb.t.Fatalf("click %s: %v\n%s", selector, err, tb.text("main"))
	}
}

// goneNode is what a click says of a node that a live update has replaced since it was found: nothing was clicked.
const goneNode = "Could not find node with given id"

// press presses a button of the script, which loads no view.
func (tb *tab) press(selector string) {
	tb.t.Helper()
	ask[chromedp.Void](tb, `document.querySelector(`+strconv.Quote(selector)+`).click()`)
}

// theme chooses light or dark.
func (tb *tab) theme(name string) {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		tb.t.Fatal(err)
	}
}

// withoutScript switches off the scripts of pages.
func (tb *tab) withoutScript() {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, emulation.SetScriptExecutionDisabled,
		emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		tb.t.Fatal(err)
	}
}

func shortened(text string) string {
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}
