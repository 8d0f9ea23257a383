package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/queue"
)

// nobody lets nobody in.
func nobody(*http.Request, ops.Permission) (string, error) { return "", ops.ErrUnauthenticated }

func TestHandlerIsClosedByDefault(t *testing.T) {
	t.Parallel()
	box, _ := open(t)
	for _, c := range []struct {
		name, reason string
		cfg          ops.Config
	}{
		{"zero", "nobody was named who may come in", ops.Config{}},
		{"both", "one of the two is a mistake", ops.Config{Insecure: true, Tokens: tokens()}},
		{"both ways", "one of the two is a mistake", ops.Config{Tokens: tokens(), Authorize: nobody}},
		{"insecure and a function", "one of the two is a mistake", ops.Config{Insecure: true, Authorize: nobody}},
		{"short", "it can be guessed", ops.Config{Tokens: append(tokens(), ops.Token{Name: "short", Secret: "short"})}},
		{"nameless", "an audit record has a name", ops.Config{Tokens: []ops.Token{{Secret: readToken}}}},
		{"negative", "no limit is negative", ops.Config{Insecure: true, MaxBody: -1}},
		{"origin", "an origin has a scheme and no path", ops.Config{Insecure: true,
			TrustedOrigins: []string{"example.com/x"}}},
		{"trace without a place", "each trace would be the same", ops.Config{Insecure: true,
			TraceURL: "https://traces.example/"}},
		{"trace by script", "it would run in the page", ops.Config{Insecure: true, TraceURL: "javascript:{trace}"}},
		{"thresholds", "nor is a threshold", ops.Config{Insecure: true, Thresholds: ops.Thresholds{LoopDelay: -1}}},
	} {
		if _, err := ops.Handler(box, c.cfg); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("%s (%s): %v", c.name, c.reason, err)
		}
	}
	if _, err := ops.Handler(nil, ops.Config{Insecure: true}); !errors.Is(err, ops.ErrInvalid) {
		t.Errorf("without a box: %v", err)
	}
	if _, err := ops.Handler(box, ops.Config{Insecure: true}); err != nil {
		t.Errorf("insecure, as asked for: %v", err)
	}
}

// Every change that is refused must leave the queue as it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{MaxBody: 2000, TrustedOrigins: []string{"https://ops.example.com"}})
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}')`)
	const pause = "/v1/queues/emails/pause"
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		name, reason string
		q            request
		status       int
	}{
		{"no token", "the default is closed", request{method: "GET", path: "/v1/queues"}, 401},
		{"wrong token", "a guess is not enough", request{method: "GET", path: "/v1/queues",
			token: "wrong-secret-0123456789"}, 401},
		{"half a token", "a prefix is not enough", request{method: "GET", path: "/v1/queues", token: readToken[:10]},
			401},
		{"no token for metrics", "metrics name queues", request{method: "GET", path: "/metrics"}, 401},
		{"no token for the page", "so does the page", request{method: "GET", path: "/"}, 401},
		{"no token for the stream", "and the stream", request{method: "GET", path: "/v1/live"}, 401},
		{"no token for the document", "nothing but probes is open", request{method: "GET", path: "/v1/openapi.json"},
			401},
		{"reader pauses", "reading is not changing", request{method: "POST", path: pause, token: readToken}, 403},
		{"payloads pauses", "nor is seeing payloads", request{method: "POST", path: pause, token: payloadToken}, 403},
		{"nobody pauses", "least of all", request{method: "POST", path: pause}, 401},
		{"reader wants payloads", "payloads are a permission of their own",
			request{method: "GET", path: "/v1/tasks/1?payload=true", token: readToken}, 403},
		{"operator wants payloads", "changing is not seeing",
			request{method: "GET", path: "/v1/tasks/1?payload=true", token: changeToken}, 403},
		{"change by GET", "a link must change nothing", request{method: "GET", path: pause, token: changeToken}, 405},
		{"change by PUT", "only POST changes", request{method: "PUT", path: pause, token: changeToken}, 405},
		{"read by POST", "only GET reads", request{method: "POST", path: "/v1/queues", token: changeToken}, 405},
		{"cross-site fetch", "a browser says where it comes from",
			request{method: "POST", path: pause, token: changeToken,
				header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403},
		{"other origin", "older browsers say it so",
			request{method: "POST", path: pause, token: changeToken,
				header: map[string]string{"Origin": "https://evil.example"}}, 403},
		{"opaque origin", "a sandboxed frame",
			request{method: "POST", path: pause, token: changeToken, header: map[string]string{"Origin": "null"}}, 403},
		{"unknown path", "nothing is there", request{method: "GET", path: "/v1/secrets", token: changeToken}, 404},
		{"limit 0", "a list has a limit", request{method: "GET", path: "/v1/queues?limit=0", token: readToken}, 400},
		{"limit 1001", "and a highest one", request{method: "GET", path: "/v1/dead-letters?limit=1001",
			token: readToken}, 400},
		{"limit huge", "which no overflow gets round", request{method: "GET",
			path: "/v1/workers?limit=99999999999999999999", token: readToken}, 400},
		{"unknown parameter", "a misspelt filter must not choose everything",
			request{method: "GET", path: "/v1/dead-letters?queu=a", token: readToken}, 400},
		{"repeated parameter", "which of the two?", request{method: "GET", path: "/v1/dead-letters?queue=a&queue=b",
			token: readToken}, 400},
		{"NUL in a name", "PostgreSQL has none", request{method: "GET", path: "/v1/queues/a%00b", token: readToken},
			400},
		{"NUL in a filter", "nor here", request{method: "GET", path: "/v1/dead-letters?queue=a%00b",
			token: readToken}, 400},
		{"invalid UTF-8", "nor that", request{method: "GET", path: "/v1/queues?after=%ff", token: readToken}, 400},
		{"overlong name", "names have 200 bytes", request{method: "GET", path: "/v1/queues/" + long,
			token: readToken}, 400},
		{"id is text", "ids are numbers", request{method: "GET", path: "/v1/tasks/1%20OR%201", token: readToken}, 400},
		{"id is negative", "and positive", request{method: "GET", path: "/v1/tasks/-1", token: readToken}, 400},
		{"no such task", "404 says so", request{method: "GET", path: "/v1/tasks/999999", token: readToken}, 404},
		{"no such subscriber", "here too", request{method: "POST", path: "/v1/subscribers/nobody/reset",
			token: changeToken}, 404},
		{"no such schedule", "and here", request{method: "POST", path: "/v1/schedules/none/run", token: changeToken},
			404},
		{"oversized body", "the limit is 2,000 bytes", request{method: "POST", path: "/v1/dead-letters/retry",
			token: changeToken,
			body:  `{"queue":"` + strings.Repeat("x", 3000) + `"}`}, 413},
		{"form", "a form of another page could send it",
			request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken, body: `{"all":true}`,
				header: map[string]string{"Content-Type": "text/plain"}}, 415},
		{"no selection", "nothing chosen is not " +
			"everything", request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken, body: `{}`}, 400},
		{"contradiction", "all or one",
			request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken,
				body: `{"all":true,"queue":"a"}`}, 400},
		{"too many", "a request is bounded",
			request{method: "POST", path: "/v1/dead-letters/retry", token: changeToken,
				body: `{"all":true,"limit":1001}`}, 400},
		{"unknown field", "a misspelt one",
			request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken,
				body: `{"all":true,"quue":"a"}`}, 400},
		{"not JSON", "at all", request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken,
			body: `{`}, 400},
		{"two documents", "which?", request{method: "POST", path: "/v1/dead-letters/purge", token: changeToken,
			body: `{"all":true}{}`}, 400},
		{"body where none is", "it would be ignored",
			request{method: "POST", path: pause, token: changeToken, body: `{"for":1}`}, 400},
	} {
		status, body, header := do(t, h, c.q)
		if status != c.status {
			t.Errorf("%s (%s): %d, want %d: %s", c.name, c.reason, status, c.status, body)
		}
		if header.Get("Content-Security-Policy") == "" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: without the security headers: %v", c.name, header)
		}
	}
	if q, err := ops.QueueStats(t.Context(), box, "emails"); err != nil || q.PausedAt != nil || q.Pending.N != 1 {
		t.Errorf("a refused request has changed something: %+v, %v", q, err)
	}
	for _, header := range []map[string]string{nil, {"Sec-Fetch-Site": "same-origin"},
		{"Origin": "https://ops.example.com"}} {
		if status, body, _ := do(t, h, request{method: "POST", path: pause, token: changeToken, body: `{}`,
			header: header}); status != 200 {
			t.Errorf("a change that is allowed, with %v: %d %s", header, status, body)
		}
	}
	if q, err := ops.QueueStats(t.Context(), box, "emails"); err != nil || q.PausedAt == nil {
		t.Errorf("the change was not made: %+v, %v", q, err)
	}
}

func TestEveryChangeIsAudited(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var records []ops.AuditRecord
	h, _, pool := serve(t, ops.Config{Audit: func(_ context.Context, r ops.AuditRecord) {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
	}})
	die(t, pool, "emails", `{}`, "no", 3)
	for _, c := range []struct {
		name, reason string
		q            request
		want         ops.AuditRecord
	}{
		{"done", "who did what", request{method: "POST", path: "/v1/queues/emails/pause", token: changeToken,
			body: `{"reason":"no"}`},
			ops.AuditRecord{Actor: "carl", Action: "pause_queue", Target: "emails", Status: 200}},
		{"with a body", "the request is part of it",
			request{method: "POST", path: "/v1/dead-letters/retry", token: changeToken, body: `{"queue":"emails"}`},
			ops.AuditRecord{Actor: "carl", Action: "retry_dead_letters", Status: 200}},
		{"refused", "an attempt is worth knowing of", request{method: "POST", path: "/v1/queues/emails/resume",
			token: readToken},
			ops.AuditRecord{Actor: "rita", Action: "resume_queue", Target: "emails", Status: 403}},
		{"unknown", "also by nobody", request{method: "POST", path: "/v1/queues/emails/resume"},
			ops.AuditRecord{Action: "resume_queue", Target: "emails", Status: 401}},
		{"failed", "and what went wrong",
			request{method: "POST", path: "/v1/tasks/99999/cancel", token: changeToken, body: `{}`},
			ops.AuditRecord{Actor: "carl", Action: "cancel_task", Target: "99999", Status: 404}},
	} {
		mu.Lock()
		records = nil
		mu.Unlock()
		do(t, h, c.q)
		if len(records) != 1 {
			t.Errorf("%s: %d records", c.name, len(records))
			continue
		}
		r := records[0]
		if r.Actor != c.want.Actor || r.Action != c.want.Action || r.Target != c.want.Target ||
			r.Status != c.want.Status || (r.Error != "") != (r.Status != 200) || r.Remote == "" || r.At.IsZero() {
			t.Errorf("%s (%s): %+v", c.name, c.reason, r)
		}
		if c.name == "with a body" && r.Request.(ops.DeadSelection).Queue != "emails" {
			t.Errorf("%s: the request is %+v", c.name, r.Request)
		}
	}
	records = nil
	do(t, h, request{method: "GET", path: "/v1/queues", token: changeToken})
	if len(records) != 0 {
		t.Errorf("reading was audited: %+v", records)
	}
}

// pageScripts takes the page's own scripts away.
var pageScripts = strings.NewReplacer(`<script src="thirdparty/idiomorph/idiomorph.min.js" defer></script>`, "",
	`<script type="module" src="page.js"></script>`, "")

func TestScriptTagsAreShownHarmlessly(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	const script = `<script>alert(1)</script>`
	id := die(t, pool, script, `{"x":"`+script+`"}`, `"><img src=x onerror=alert(1)>`+script, 1)
	exec(t, pool, `SELECT public.strunk_enqueue($1, '{}')`, script)
	for _, path := range []string{"/", "/tasks?status=dead", "/tasks?status=dead&queue=" +
		"%3Cscript%3Ealert(1)%3C/script%3E",
		"/task?id=" + str(id),
		"/v1/queues", "/v1/dead-letters", "/v1/tasks/" + str(id) + "?payload=true",
		"/v1/queues/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/metrics", "/v1/secrets/<script>"} {
		status, body, header := do(t, h, request{method: "GET", path: path, token: payloadToken})
		if path != "/v1/secrets/<script>" && (status != 200 || !strings.Contains(body, "alert(1)")) {
			t.Errorf("%s: %d, and the text is not shown at all: %s", path, status, body)
		}
		kind := header.Get("Content-Type")
		body = pageScripts.Replace(body)
		if strings.Contains(body, "<script") && !strings.HasPrefix(kind, "text/plain") ||
			strings.Contains(body, "<img") {
			t.Errorf("%s (%s) has a tag: %s", path, kind, body)
		}
		if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
			!strings.Contains(csp, "script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
}

func TestPayloadsAreHiddenAndRedacted(t *testing.T) {
	t.Parallel()
	const secret = "4111-1111"
	open, _, pool := serve(t, ops.Config{})
	id := die(t, pool, "cards", `{"card":"`+secret+`"}`, "declined", 1)
	result := `INSERT INTO public.strunk_results (task_id, updated_at, queue, result) VALUES ($1, now(), 'cards', $2)`
	exec(t, pool, result, id, `{"paid":"`+secret+`"}`)
	path := "/v1/tasks/" + str(id)
	if status, body, _ := do(t, open, request{method: "GET", path: path, token: payloadToken}); status != 200 ||
		strings.Contains(body, secret) {
		t.Errorf("a payload was shown that nobody asked for: %d %s", status, body)
	}
	if status, body, _ := do(t, open, request{method: "GET", path: path + "?payload=true",
		token: payloadToken}); status != 200 || !strings.Contains(body, secret) {
		t.Errorf("a payload was not shown to who may see it: %d %s", status, body)
	}
	if status, body, _ := do(t, open, request{method: "GET", path: "/task?id=" + str(id),
		token: readToken}); status != 200 || strings.Contains(body, secret) {
		t.Errorf("the page shows a payload to a reader: %d %s", status, body)
	}
	if _, body, _ := do(t, open, request{method: "GET", path: "/task?id=" + str(id),
		token: payloadToken}); !strings.Contains(body, "paid") {
		t.Errorf("the page shows no result to who may see it: %s", body)
	}
	if _, body, _ := do(t, open, request{method: "GET", path: "/v1/dead-letters",
		token: payloadToken}); strings.Contains(body, secret) {
		t.Errorf("a list shows payloads: %s", body)
	}

	hide := func(_ context.Context, task ops.TaskDetails, doc json.RawMessage) json.RawMessage {
		if task.Queue != "cards" || task.Payload != nil {
			return nil
		}
		return json.RawMessage(strings.ReplaceAll(string(doc), secret, "XXXX"))
	}
	h, _, pool := serve(t, ops.Config{Redact: hide})
	id = die(t, pool, "cards", `{"card":"`+secret+`"}`, "declined", 1)
	exec(t, pool, result, id, `{"paid":"`+secret+`"}`)
	for _, path := range []string{"/v1/tasks/" + str(id) + "?payload=true", "/task?id=" + str(id)} {
		if status, body, _ := do(t, h, request{method: "GET", path: path, token: payloadToken}); status != 200 ||
			strings.Contains(body, secret) || !strings.Contains(body, "XXXX") {
			t.Errorf("%s was not redacted: %d %s", path, status, body)
		}
	}
}

func TestChangesDoWhatTheySay(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	first := die(t, pool, "emails", `{}`, "smtp: timeout", 5)
	die(t, pool, "sms", `{}`, "no route", 2)
	waiting := queryOne[int64](t, pool, `SELECT public.strunk_enqueue('reports', '{}')`)
	change := func(path, body string) ops.Done {
		t.Helper()
		return post(t, h, path, body)
	}
	if done := change("/v1/dead-letters/retry", `{"ids":[`+str(first)+`]}`); done.Changed != 1 {
		t.Errorf("retry by id: %+v", done)
	}
	if done := change("/v1/dead-letters/retry", `{"queue":"emails","error":"timeout","limit":2}`); done.Changed != 2 {
		t.Errorf("retry by queue, error and limit: %+v", done)
	}
	if done := change("/v1/dead-letters/purge", `{"queue":"emails"}`); done.Changed != 2 {
		t.Errorf("purge the rest: %+v", done)
	}
	if done := change("/v1/tasks/"+str(waiting)+"/cancel",
		`{"reason":"obsolete"}`); done.State != string(queue.CancelDone) || done.Changed != 1 {
		t.Errorf("cancel: %+v", done)
	}
	if done := change("/v1/tasks/"+str(waiting)+"/cancel", `{}`); done.State != string(queue.CancelTooLate) ||
		done.Changed != 0 {
		t.Errorf("cancel once more: %+v", done)
	}
	change("/v1/queues/emails/pause", `{"reason":"the provider is down"}`)
	q, err := ops.QueueStats(t.Context(), box, "emails")
	if err != nil || q.Pending.N != 3 || q.Dead.N != 0 || q.PausedAt == nil || q.PausedBy != "carl" ||
		q.PauseReason != "the provider is down" || q.AllPaused {
		t.Errorf("emails: %+v, %v", q, err)
	}
	change("/v1/queues/emails/resume", "")
	list := get[ops.DeadLetterList](t, h, "/v1/dead-letters?queue=sms")
	if len(list.DeadLetters) != 2 || list.DeadLetters[0].Error != "no route" {
		t.Errorf("sms: %+v", list)
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	die(t, pool, "a", `{}`, "x", 25)
	exec(t, pool, `SELECT public.strunk_enqueue('q' || i, '{}') FROM generate_series(100, 124) i`)
	var ids []int64
	path, pages := "/v1/dead-letters?limit=10", 0
	for next := ""; ; pages++ {
		list := get[ops.DeadLetterList](t, h, path+next)
		for _, d := range list.DeadLetters {
			ids = append(ids, d.ID)
		}
		if list.Next == "" {
			break
		}
		next = "&from=" + list.Next
	}
	for i := range ids {
		if i > 0 && ids[i] <= ids[i-1] {
			t.Fatalf("ids are not in order: %v", ids)
		}
	}
	if len(ids) != 25 || pages != 2 {
		t.Errorf("%d dead letters, %d next pages", len(ids), pages)
	}
	if list := get[ops.DeadLetterList](t, h,
		"/v1/dead-letters?newest=true&limit=3&from="+str(ids[10])); len(list.DeadLetters) != 3 ||
		list.DeadLetters[0].ID != ids[9] {
		t.Errorf("newest first: %+v", list)
	}
	first := get[ops.QueueList](t, h, "/v1/queues?limit=20")
	rest := get[ops.QueueList](t, h, "/v1/queues?limit=20&after="+first.Next)
	if len(first.Queues) != 20 || len(rest.Queues) != 6 || rest.Next != "" {
		t.Errorf("%d and %d queues", len(first.Queues), len(rest.Queues))
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	want := func(path string, status int, body string) {
		t.Helper()
		if s, b, _ := do(t, h, request{method: "GET", path: path}); s != status || strings.TrimSpace(b) != body {
			t.Errorf("GET %s: %d %q, want %d %q", path, s, b, status, body)
		}
	}
	want("/livez", 200, "ok")
	want("/readyz", 200, "ok")
	exec(t, pool, `INSERT INTO public.strunk_migrations (version, compatible_since, name) VALUES (1000, 1,
		'newer, and still for us')`)
	want("/readyz", 200, "ok")
	exec(t, pool, `UPDATE public.strunk_migrations SET compatible_since = 1000 WHERE version = 1000`)
	want("/livez", 200, "ok")
	until(t, "not ready, and no word why", func() bool {
		s, b, _ := do(t, h, request{method: "GET", path: "/readyz"})
		return s == 503 && b == "not ready\n"
	})
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

func TestHeadersOnEveryAnswer(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{})
	for _, path := range []string{"/livez", "/", "/v1/queues", "/metrics", "/nowhere"} {
		_, _, header := do(t, h, request{method: "GET", path: path, token: readToken})
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
				"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"} {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, header.Get(name))
			}
		}
	}
}

// A token in a browser's password box does as well; tokens that are too short are refused by Handler.
func TestTokens(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{Tokens: []ops.Token{
		{Name: "rita", Secret: payloadToken, Permissions: []ops.Permission{ops.PermissionRead}}}})
	for _, c := range []struct {
		name, reason, header string
		status               int
	}{
		{"bearer", "the usual way", "Bearer " + payloadToken, 200},
		{"case", "schemes have none", "bearer " + payloadToken, 200},
		{"basic", "what browsers ask for", "Basic eDpwYXlsb2FkLXNlY3JldC0wMTIzNDU2Nzg5", 200},
		{"short", "it can be guessed", "Bearer short", 401},
		{"unknown", "it is nobody's", "Bearer " + readToken, 401},
		{"empty", "is no secret", "Bearer ", 401},
	} {
		status, _, header := do(t, h, request{method: "GET", path: "/v1/health",
			header: map[string]string{"Authorization": c.header}})
		if status != c.status {
			t.Errorf("%s (%s): %d, want %d", c.name, c.reason, status, c.status)
		}
		if status == 401 && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a browser would not ask", c.name)
		}
	}
}

func TestAuthoriserFailure(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{Authorize: func(r *http.Request, _ ops.Permission) (string, error) {
		if r.Header.Get("X-Panic") != "" {
			panic("a bug")
		}
		return "", errors.New("the directory at ldap.internal is down")
	}})
	for _, header := range []map[string]string{nil, {"X-Panic": "1"}} {
		status, body, _ := do(t, h, request{method: "GET", path: "/v1/queues", header: header})
		if status != 500 || strings.Contains(body, "ldap") || strings.Contains(body, "bug") {
			t.Errorf("%v: %d %s", header, status, body)
		}
	}
}
