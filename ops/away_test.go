package ops_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A database that is away is no fault of ours, nor of whoever asks: 503, when to ask again, and JSON. A change is
// audited as one that was not made.
func TestDatabaseAwayIs503(t *testing.T) {
	t.Parallel()
	dsn := outboxtest.DSN(outboxtest.New(t))
	proxy := faults.NewProxy(t, dsn)
	through, err := proxy.DSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), through)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	audited := make(chan ops.AuditRecord, 100)
	h, err := ops.Handler(box, ops.Config{Tokens: tokens(), Timeout: testkit.Soon,
		Audit: func(_ context.Context, r ops.AuditRecord) { audited <- r }})
	if err != nil {
		t.Fatal(err)
	}
	away := func(when, method, path string) {
		t.Helper()
		status, body, header := do(t, h, request{method: method, path: path, token: changeToken})
		var p ops.Problem
		err := json.Unmarshal([]byte(body), &p)
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || err != nil ||
			p.Code != "database_away" || strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: %s %s: %d %v %s", when, method, path, status, header, body)
		}
	}
	get[ops.QueueList](t, h, "/v1/queues")
	proxy.Down()
	for _, path := range []string{"/v1/queues", "/v1/health", "/v1/tasks/1", "/v1/schedules"} {
		away("no connection is taken", "GET", path)
	}
	away("no connection is taken", "POST", "/v1/queues/emails/resume")
	if record := <-audited; record.Status != http.StatusServiceUnavailable || record.Action != "resume_queue" {
		t.Errorf("audited: %+v", record)
	}
	proxy.Up()
	testkit.Eventually(t, "the database is back", func() bool {
		status, _, _ := do(t, h, request{method: "GET", path: "/v1/queues", token: readToken})
		return status == http.StatusOK
	})
	pool.Close()
	away("the pool is closed", "GET", "/v1/queues")
}

// Where the API is, a program reads whatever is answered.
func TestUnknownPathsAnswerJSON(t *testing.T) {
	t.Parallel()
	h, _, _ := serve(t, ops.Config{})
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/v1", 404, "not_found", ""}, {"GET", "/v1/", 404, "not_found", ""},
		{"GET", "/v1/secrets", 404, "not_found", ""}, {"POST", "/v1/queues/a/b/c", 404, "not_found", ""},
		{"GET", "/v1/queues/a/pause", 405, "method_not_allowed", "POST"},
		{"POST", "/v1/queues", 405, "method_not_allowed", "GET, HEAD"},
		{"DELETE", "/v1/openapi.json", 405, "method_not_allowed", "GET, HEAD"},
	} {
		status, body, header := do(t, h, request{method: c.method, path: c.path, token: changeToken})
		var p ops.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || status != c.status || p.Code != c.code ||
			!strings.HasPrefix(header.Get("Content-Type"), "application/json") || header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, status, header, body)
		}
	}
	for _, path := range []string{"/nowhere", "/v11"} {
		if _, _, header := do(t, h, request{method: "GET", path: path}); !strings.HasPrefix(header.Get("Content-Type"),
			"text/plain") {
			t.Errorf("%s: %v", path, header)
		}
	}
}
