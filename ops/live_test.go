package ops_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

// follow opens a stream; next returns the next event, or false at the end.
func follow(t *testing.T, url string) (status int, next func() (event, data string, ok bool)) {
	t.Helper()
	return followPath(t, url+"/v1/live")
}

// followPath opens the stream of an address.
func followPath(t *testing.T, url string) (status int, next func() (event, data string, ok bool)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+readToken)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	return res.StatusCode, func() (event, data string, ok bool) {
		for {
			line, err := lines.ReadString('\n')
			switch {
			case err != nil:
				return event, data, false
			case line == "\n":
				return event, data, true
			case strings.HasPrefix(line, "event: "):
				event = strings.TrimSpace(strings.TrimPrefix(line, "event: "))
			case strings.HasPrefix(line, "data: "):
				data = strings.TrimPrefix(line, "data: ")
			}
		}
	}
}

func TestLiveUpdates(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	h, _, pool := serve(t, ops.Config{Refresh: 100 * time.Millisecond, Timeout: 5 * time.Second, MaxStreams: 1,
		Done: ctx.Done()})
	server := httptest.NewServer(h)
	defer server.Close()
	status, next := follow(t, server.URL)
	if status != 200 {
		t.Fatal(status)
	}
	pending := func() int64 {
		t.Helper()
		event, data, ok := next()
		var l ops.Live
		if err := json.Unmarshal([]byte(data), &l); err != nil || event != "live" || !ok {
			t.Fatalf("%q %q %v", event, data, err)
		}
		return l.Overall.Pending.N
	}
	if n := pending(); n != 0 {
		t.Errorf("%d pending at first", n)
	}
	if status, _ := follow(t, server.URL); status != 503 {
		t.Errorf("a second stream is let in: %d", status)
	}
	for range 60 { // longer than any other request may take
		pending()
	}
	exec(t, pool, `SELECT public.strunk_enqueue('a', '{}')`)
	until(t, "the task is seen", func() bool { return pending() == 1 })
	cancel() // a shutdown need not wait for it
	until(t, "the stream ends", func() bool { _, _, ok := next(); return !ok })
	until(t, "its place is free again", func() bool { status, _ := follow(t, server.URL); return status == 200 })
}

// However many look, the database is asked once in Refresh.
func TestLiveIsAskedOnceForAll(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{Refresh: time.Hour})
	for _, path := range []string{"/", "/metrics"} {
		do(t, h, request{method: "GET", path: path, token: readToken})
	}
	exec(t, pool, `SELECT public.strunk_enqueue('later', '{}')`)
	for _, path := range []string{"/", "/metrics"} {
		if _, body, _ := do(t, h, request{method: "GET", path: path, token: readToken}); strings.Contains(body,
			"later") {
			t.Errorf("%s asked the database again", path)
		}
	}
	if list := get[ops.QueueList](t, h, "/v1/queues"); len(list.Queues) != 1 {
		t.Errorf("the JSON is not of now: %+v", list)
	}
}
