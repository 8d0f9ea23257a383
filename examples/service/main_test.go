package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
)

const (
	child = "STRUNK_EXAMPLE_SERVICE"
	token = "operator-secret-0123456789"
)

// TestMain is the service itself in the child process.
func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		main()
		os.Exit(0)
	}
	testkit.Main(m)
}

// The service takes orders, works and indexes them, shows itself to operators, and ends at SIGTERM with exit code 0 and
// nothing left claimed.
func TestService(t *testing.T) {
	t.Parallel()
	pool := outboxtest.Empty(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1", "DATABASE_URL="+outboxtest.DSN(pool), "OPS_TOKEN="+token,
		"ADDRESS=localhost:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	url := "http://" + await(t, lines, "serving")["address"].(string)

	for i := range 5 {
		post(t, url+"/orders", fmt.Sprintf(`{"id":"%d","email":"a@example.com","item":"lamp"}`, i), http.StatusCreated)
	}
	// sold already: no mail either
	post(t, url+"/orders", `{"id":"0","email":"a@example.com","item":"lamp"}`, http.StatusInternalServerError)
	until(t, func() bool { status, body := get(t, url+"/search/4", ""); return status == 200 && body == "lamp\n" })
	until(t, func() bool {
		_, body := get(t, url+"/ops/v1/queues/confirmations", token)
		var q ops.Queue
		return json.Unmarshal([]byte(body), &q) == nil && q.Pending.N+q.Claimed.N == 0 && q.Workers == 1
	})
	for path, want := range map[string]int{"/ops/readyz": 200, "/ops/livez": 200, "/ops/v1/queues": 401} {
		if status, body := get(t, url+path, ""); status != want {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
	if status, body := get(t, url+"/ops/metrics", token); status != 200 ||
		!strings.Contains(body, `strunk_subscriber_waiting_events{entity_type="order",subscriber="search-indexer"}`) {
		t.Errorf("metrics: %d %s", status, body)
	}
	if status, body := get(t, url+"/ops/", token); status != 200 || !strings.Contains(body, "confirmations") {
		t.Errorf("the page: %d %s", status, body)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "the service has stopped")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
	var confirmed, left int
	err = pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE status = 'delivered' AND kind = 'task'),
		count(*) FILTER (WHERE status IN ('pending', 'claimed')) FROM public.strunk_outbox`).Scan(&confirmed, &left)
	if err != nil || confirmed != 5 || left != 0 {
		t.Errorf("%d confirmed, %d left: %v", confirmed, left, err)
	}
}

// await reads the log up to a message.
func await(t *testing.T, lines *bufio.Scanner, message string) (line map[string]any) {
	t.Helper()
	for lines.Scan() {
		line = nil
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line["msg"] == message {
			return line
		}
		t.Log(lines.Text())
	}
	t.Fatalf("the log ended without %q: %v", message, lines.Err())
	return nil
}

func post(t *testing.T, url, body string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := send(t, r); status != want {
		t.Errorf("POST %s: %d %s", body, status, answer)
	}
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return send(t, r)
}

func send(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain")
		}
	}
}
