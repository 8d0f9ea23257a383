package ops_test

import (
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	core.Patience = testkit.Soon / ops.QueryTimeout
	testkit.Main(m)
}

// open returns a box on a fresh database.
func open(t testing.TB) (*outbox.Box, *pgxpool.Pool) {
	t.Helper()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return box, pool
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func queryOne[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (v T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

const (
	readToken    = "reader-secret-0123456789"
	payloadToken = "payload-secret-0123456789"
	changeToken  = "change-secret-0123456789"
)

// tokens lets a reader, one who may see payloads, and an operator in.
func tokens() []ops.Token {
	return []ops.Token{
		{Name: "rita", Secret: readToken, Permissions: []ops.Permission{ops.PermissionRead}},
		{Name: "paul", Secret: payloadToken, Permissions: []ops.Permission{ops.PermissionRead,
			ops.PermissionPayloads}},
		{Name: "carl", Secret: changeToken, Permissions: []ops.Permission{ops.PermissionRead, ops.PermissionChange}},
	}
}

// serve returns a handler on a fresh database.
func serve(t testing.TB, cfg ops.Config) (http.Handler, *outbox.Box, *pgxpool.Pool) {
	t.Helper()
	box, pool := open(t)
	if cfg.Authorize == nil && cfg.Tokens == nil && !cfg.Insecure {
		cfg.Tokens = tokens()
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = testkit.Soon
	}
	h, err := ops.Handler(box, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h, box, pool
}

// request is one request to a handler.
type request struct {
	method, path, token, body string
	header                    map[string]string
}

// do sends a request; a body is JSON unless its header says otherwise.
func do(t testing.TB, h http.Handler, q request) (status int, body string, header http.Header) {
	t.Helper()
	var in io.Reader
	if q.body != "" {
		in = strings.NewReader(q.body)
	}
	r := httptest.NewRequestWithContext(t.Context(), q.method, q.path, in)
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

// get reads JSON with a reader's token.
func get[T any](t testing.TB, h http.Handler, path string) (v T) {
	t.Helper()
	status, body, _ := do(t, h, request{method: "GET", path: path, token: readToken})
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
	return v
}

// post makes a change that must succeed.
func post(t testing.TB, h http.Handler, path, body string) ops.Done {
	t.Helper()
	return answer[ops.Done](t, h, path, body)
}

// answer is what a change that must succeed answers.
func answer[T any](t testing.TB, h http.Handler, path, body string) (v T) {
	t.Helper()
	status, doc, _ := do(t, h, request{method: "POST", path: path, token: changeToken, body: body})
	if status != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, status, doc)
	}
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatalf("POST %s: %v: %s", path, err, doc)
	}
	return v
}

// die makes n dead letters of a queue, without a worker, and returns the first's id.
func die(t testing.TB, pool *pgxpool.Pool, queue, payload, why string, n int) (first int64) {
	t.Helper()
	return queryOne[int64](t, pool, `WITH dead AS (
	INSERT INTO public.strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status, kind, key,
	last_error, payload, errors)
	SELECT i.n, i.n, now(), now(), 12, 'dead', 'task', $1, $3, $2::json, public.strunk_add_error(NULL, 12,
	now(), $3, 'a stack', 'host/1')
	FROM (SELECT nextval('public.strunk_outbox_id_seq') AS n FROM generate_series(1, $4)) i RETURNING id)
SELECT min(id) FROM dead`, queue, payload, why, n)
}

func str(n int64) string { return strconv.FormatInt(n, 10) }
