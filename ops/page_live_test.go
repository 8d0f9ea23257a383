package ops_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

// A page that follows a view gets its document at first and whenever it has changed; in between it hears that the view
// is as it was.
func TestFollowSendsWhatChanged(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{Refresh: 100 * time.Millisecond})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	status, next := followPath(t, server.URL+"/follow?view=tasks%3Fqueue%3Demails")
	if status != 200 {
		t.Fatal(status)
	}
	hear := func() (html string) {
		t.Helper()
		name, data, ok := next()
		var m struct{ HTML, Version string }
		if err := json.Unmarshal([]byte(data), &m); err != nil || name != "view" || !ok || m.Version == "" {
			t.Fatalf("%s %q, %v, %v", name, data, ok, err)
		}
		return m.HTML
	}
	if html := hear(); !strings.Contains(html, "<main") || strings.Contains(html, "task?id=") {
		t.Errorf("at first: %s", html)
	}
	// The navigation's counts may come with a later view than the first.
	until(t, "nothing has changed", func() bool { return hear() == "" })
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}')`)
	until(t, "the new task comes", func() bool { return strings.Contains(hear(), "task?id=") })
}

// Only views of the page are followed, by those who may see them.
func TestFollowRefuses(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{})
	for _, c := range []struct {
		name, path, token string
		status            int
	}{
		{"nobody", "/follow?view=tasks", "", 401},
		{"another site", "/follow?view=//evil.example/tasks", readToken, 400},
		{"a URL", "/follow?view=https://evil.example/", readToken, 400},
		{"no view", "/follow?view=v1/queues", readToken, 400},
		{"a file", "/follow?view=style.css", readToken, 400},
		{"an unknown parameter", "/follow?view=tasks&x=1", readToken, 400},
	} {
		if status, body, _ := do(t, h, request{method: "GET", path: c.path, token: c.token}); status != c.status {
			t.Errorf("%s: %d %s; want %d", c.name, status, body, c.status)
		}
	}
}
