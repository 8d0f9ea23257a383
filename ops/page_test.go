package ops_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
)

// browser is a person with a token who keeps cookies, and follows what a form answers.
type browser struct {
	t       testing.TB
	h       http.Handler
	token   string
	cookies map[string]string
}

func browse(t testing.TB, h http.Handler, token string) *browser {
	return &browser{t: t, h: h, token: token, cookies: map[string]string{}}
}

// send sends a request; the path is relative to the page.
func (b *browser) send(method, path, body string) (status int, text string, header http.Header) {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, "/"+strings.TrimPrefix(path, "./"),
		strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+b.token)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w.Code, w.Body.String(), w.Header()
}

// see opens a view that must be there.
func (b *browser) see(path string) string {
	b.t.Helper()
	status, text, _ := b.send(http.MethodGet, path, "")
	if status != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, status, text)
	}
	return text
}

var (
	inputs   = regexp.MustCompile(`<input[^>]*>`)
	nameOf   = regexp.MustCompile(` name="([^"]*)"`)
	valueOf  = regexp.MustCompile(` value="([^"]*)"`)
	formOf   = regexp.MustCompile(`(?s)<form class="confirm".*?</form>`)
	unescape = strings.NewReplacer("&amp;", "&", "&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&#43;", "+")
)

// form is the form of a confirmation, as it would be sent.
func (b *browser) form(confirm string) url.Values {
	b.t.Helper()
	form := url.Values{}
	for _, input := range inputs.FindAllString(formOf.FindString(b.see(confirm)), -1) {
		if strings.Contains(input, `type="checkbox"`) && !strings.Contains(input, " checked") {
			continue
		}
		value := ""
		if m := valueOf.FindStringSubmatch(input); m != nil {
			value = unescape.Replace(m[1])
		}
		form.Add(nameOf.FindStringSubmatch(input)[1], value)
	}
	return form
}

// act confirms an action with what is filled in besides, and returns the view that it ends at.
func (b *browser) act(confirm string, filled ...string) string {
	b.t.Helper()
	form := b.form(confirm)
	for i := 0; i < len(filled); i += 2 {
		form.Set(filled[i], filled[i+1])
	}
	status, text, header := b.send(http.MethodPost, "do", form.Encode())
	if status != http.StatusSeeOther {
		b.t.Fatalf("%s with %v: %d %s", confirm, form, status, text)
	}
	return b.see(header.Get("Location"))
}

// shows fails unless the text of a view has all of these.
func shows(t testing.TB, view string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(view, w) {
			t.Errorf("%q is not in\n%s", w, view)
		}
	}
}

// hides fails if the text of a view has any of these.
func hides(t testing.TB, view string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(view, w) {
			t.Errorf("%q is in\n%s", w, view)
		}
	}
}

func TestNowSaysWhatNeedsAPerson(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{Title: "shop & co", Refresh: time.Hour})
	seed(t, pool)
	exec(t, pool, `SELECT public.strunk_enqueue('orphans', '{}')`)
	exec(t, pool, `SELECT public.strunk_pause_queue('sms', 'maintenance', 'ann')`)
	view := browse(t, h, readToken).see("./")
	shows(t, view, "things need a person", "1 queue has tasks and no process works it", "orphans", "no worker",
		"1 queue is paused by hand", "maintenance", "3 dead letters wait for a decision", "shop &amp; co", "rita",
		`aria-current="page"`, "checks are fine")
	hides(t, view, "Resume …")
	shows(t, browse(t, h, changeToken).see("./"), "Resume …", "read, change")
	shows(t, browse(t, h, readToken).see("./?over=2d"), "are of the last hour")
	hides(t, browse(t, h, changeToken).see("confirm?op=resume_queue&queue=sms"), `aria-current="page"`)
	hides(t, browse(t, h, readToken).see("queues?q=orph"), `type="search" name="q" value="orph"`)
	shows(t, browse(t, h, readToken).see("search?q=orph"), `type="search" name="q" value="orph"`)
	if status, text, header := browse(t, h, readToken).send("GET", "./?over=year", ""); status != 400 ||
		!strings.Contains(text, "neither hour nor 2d") || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("a wrong span: %d %s", status, text)
	}
	testkit.Eventually(t, "each view counts the dead letters beside Errors", func() bool {
		return strings.Contains(browse(t, h, readToken).see("tasks"), `3<span class="said"> dead letters</span>`)
	})
	die(t, pool, "dead", `{}`, "no", 1) // the metrics show what the page has asked for
	if _, body, _ := do(t, h, request{method: "GET", path: "/metrics", token: readToken}); !strings.Contains(body,
		"\nstrunk_dead_letters 3\n") {
		t.Errorf("the metrics have asked anew: %s", body)
	}
}

func TestPageActsThroughTheAPI(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var audited []ops.AuditRecord
	h, box, _ := serve(t, ops.Config{Audit: recordTo(&mu, &audited)})
	carl := browse(t, h, changeToken)
	const pause = "confirm?op=pause_queue&queue=emails&back=.%2F%3Fover%3D2d"
	shows(t, carl.see(pause), "No more tasks of emails will be begun", "strunk pause emails", "Reason")
	shows(t, carl.act(pause, "reason", "it's late"), "Pause the queue: done", "two days</b>")
	q, err := ops.QueueStats(t.Context(), box, "emails")
	if err != nil || q.PausedBy != "carl" || q.PauseReason != "it's late" {
		t.Errorf("not paused by carl: %+v %v", q, err)
	}
	hides(t, carl.see("./"), "Pause the queue: done") // a notice is shown once
	mu.Lock()
	if n := len(audited); n != 1 || audited[0].Action != "pause_queue" || audited[0].Target != "emails" ||
		audited[0].Actor != "carl" || audited[0].Status != 200 {
		t.Errorf("audited: %+v", audited)
	}
	mu.Unlock()
	status, text, _ := browse(t, h, readToken).send("GET", pause, "")
	if status != http.StatusForbidden || strings.Contains(text, "<form class=\"confirm\"") {
		t.Errorf("a reader may confirm: %d %s", status, text)
	}
}

// What is refused changes nothing, whatever the form says.
func TestPageRefusesForms(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	exec(t, pool, `SELECT public.strunk_pause_queue('emails', 'late', 'ann')`)
	carl, rita := browse(t, h, changeToken), browse(t, h, readToken)
	form := carl.form("confirm?op=resume_queue&queue=emails")
	rita.see("./")
	for _, c := range []struct {
		name, reason string
		who          *browser
		change       func(url.Values)
		status       int
	}{
		{"no token", "another site cannot know it", carl, func(f url.Values) { f.Del("token") }, 403},
		{"another token", "nor guess it", carl, func(f url.Values) { f.Set("token", strings.Repeat("A", 26)) }, 403},
		{"a reader", "reading is not changing", rita, func(f url.Values) {
			f.Set("token",
				rita.cookies["strunk_form"])
		},
			403},
		{"another number", "the person must know how many", carl, func(f url.Values) { f.Set("expect", "5") }, 403},
		{"no action", "the page knows its actions", carl, func(f url.Values) { f.Set("op", "get_task") }, 400},
		{"no such queue", "the API checks", carl, func(f url.Values) { f.Set("queue", strings.Repeat("x", 201)) }, 400},
	} {
		sent := url.Values{}
		for name, v := range form {
			sent[name] = append([]string(nil), v...)
		}
		c.change(sent)
		status, text, header := c.who.send("POST", "do", sent.Encode())
		if status != c.status || !strings.Contains(text, `class="problem"`) ||
			!strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			t.Errorf("%s (%s): %d, want %d: %s", c.name, c.reason, status, c.status, text)
		}
	}
	if q, err := ops.QueueStats(t.Context(), box, "emails"); err != nil || q.PausedAt == nil {
		t.Errorf("a refused form has resumed the queue: %+v %v", q, err)
	}
	for _, back := range []string{"https://evil.example", "//evil.example/queues", "/queues", `\\evil`, "nowhere"} {
		form.Set("back", back)
		if status, _, header := carl.send("POST", "do", form.Encode()); status != 303 ||
			header.Get("Location") != "./" {
			t.Errorf("back to %q: %d %q", back, status, header.Get("Location"))
		}
	}
}

func TestPageUnderAPrefix(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{})
	b := browse(t, http.StripPrefix("/ops", h), changeToken)
	for _, path := range []string{"ops/", "ops/style.css"} {
		b.see(path)
	}
	form := b.form("ops/confirm?op=pause_all_queues")
	if status, text, header := b.send("POST", "ops/do", form.Encode()); status != 303 ||
		header.Get("Location") != "./" {
		t.Errorf("%d %q %s", status, header.Get("Location"), text)
	}
}

// recordTo keeps what is audited.
func recordTo(mu *sync.Mutex, records *[]ops.AuditRecord) func(context.Context, ops.AuditRecord) {
	return func(_ context.Context, r ops.AuditRecord) {
		mu.Lock()
		defer mu.Unlock()
		*records = append(*records, r)
	}
}

func urlEncoded(s string) string { return url.QueryEscape(s) }

// linkTo is where a link of a view leads.
func linkTo(t testing.TB, view, text string) string {
	t.Helper()
	m := regexp.MustCompile(`href="([^"]*)">` + regexp.QuoteMeta(text)).FindStringSubmatch(view)
	if m == nil {
		t.Fatalf("no link %q in\n%s", text, view)
	}
	return unescape.Replace(m[1])
}
