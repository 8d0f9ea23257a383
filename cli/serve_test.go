package cli_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

var servedAt = regexp.MustCompile(`http://\S+/`)

// served runs a command that serves HTTP. It returns the address that the command prints, and a function that ends the
// command and returns its exit code.
func served(t *testing.T, args ...string) (url string, end func() int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, printed := io.Pipe()
	code := make(chan int, 1)
	go func() {
		defer printed.Close()
		code <- cli.Run(ctx, append([]string{"strunk"}, args...),
			cli.Streams{In: strings.NewReader(""), Out: printed, Err: os.Stderr})
	}()
	for lines := bufio.NewScanner(out); url == "" && lines.Scan(); {
		url = servedAt.FindString(lines.Text())
	}
	go io.Copy(io.Discard, out)
	return url, func() int { stop(); return <-code }
}

// serveRequest is one request to strunk serve, and what it must be answered with.
type serveRequest struct {
	name, method, path string
	header             map[string]string
	host               string
	status             int
}

func (q serveRequest) check(t *testing.T, url string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, url+q.path, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	r.Host = q.host
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", q.name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != q.status {
		body, _ := io.ReadAll(answer.Body)
		t.Errorf("%s: %s %s: %d %s; want %d", q.name, q.method, q.path, answer.StatusCode, body, q.status)
	}
}

// strunk serve lets in whom its flags name, to what they permit, and ends well.
func TestServe(t *testing.T) {
	t.Parallel()
	database := []string{"--database-url", outboxtest.DSN(outboxtest.New(t)), "serve", "--address", "localhost:0"}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("# ours\nrita read reader-secret-0123\n\n"+
		"carl read,change change-secret-0123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bearer := func(secret string) map[string]string { return map[string]string{"Authorization": "Bearer " + secret} }
	user := map[string]string{"X-User": "ann"}
	const pause = "v1/queues/emails/resume"
	for _, c := range []struct {
		name     string
		flags    []string
		requests []serveRequest
	}{
		{"this machine", []string{"--trace-url", "https://traces.example/{trace}"}, []serveRequest{
			{name: "everybody may read", method: "GET", path: "v1/queues", status: 200},
			{name: "the page", method: "GET", status: 200},
			{name: "metrics", method: "GET", path: "metrics", status: 200},
			{name: "nobody may change", method: "POST", path: pause, status: 403},
			{name: "a name that turned here", method: "GET", path: "v1/queues", host: "evil.example:80", status: 403},
			{name: "an address of this machine", method: "GET", path: "v1/queues", host: "[::1]:80", status: 200},
		}},
		{"tokens", []string{"--tokens-file", tokens}, []serveRequest{
			{name: "nobody without one", method: "GET", path: "v1/queues", status: 401},
			{name: "nor with a wrong one", method: "GET", header: bearer("wrong"), status: 401},
			{name: "health is for everybody", method: "GET", path: "readyz", status: 200},
			{name: "a reader", method: "GET", path: "v1/queues", header: bearer("reader-secret-0123"), status: 200},
			{name: "may not change", method: "POST", path: pause, header: bearer("reader-secret-0123"), status: 403},
			{name: "one who may", method: "POST", path: pause, header: bearer("change-secret-0123"), status: 200},
			{name: "any host", method: "GET", header: bearer("reader-secret-0123"), host: "ops.example", status: 200},
		}},
		{"a proxy", []string{"--trust-header", "x-user", "--permissions", "read,change"}, []serveRequest{
			{name: "nobody past the proxy", method: "GET", path: "v1/queues", status: 401},
			{name: "whom the proxy names", method: "POST", path: pause, header: user, host: "ops.example", status: 200},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, end := served(t, append(database, c.flags...)...)
			if url == "" {
				t.Fatalf("no address is printed; exit code %d", end())
			}
			for _, q := range c.requests {
				q.check(t, url)
			}
			if code := end(); code != cli.ExitDone {
				t.Errorf("it ended with %d; want %d", code, cli.ExitDone)
			}
		})
	}
}
