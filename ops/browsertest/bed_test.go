// Package browsertest holds the tests of the operators' page in headless Chromium. It is a module of its own, so that
// the browser's driver is no dependency of users.
package browsertest

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

//go:embed testdata/seed.sql
var seedSQL string

func TestMain(m *testing.M) {
	core.Patience = testkit.Soon / ops.QueryTimeout
	testkit.Main(m)
}

// bed is what all tests share: one browser, one seeded database with a process that works on it, and two pages.
type bed struct {
	browser context.Context
	pool    *pgxpool.Pool
	box     *outbox.Box
	// operator may do everything, reader read alone.
	operator, reader *httptest.Server
}

func newBed(t *testing.T) *bed {
	t.Helper()
	program := testkit.Program(t, "chromium", "chromium-browser", "google-chrome")
	b := &bed{browser: startBrowser(t, program), pool: outboxtest.New(t, outboxtest.SearchPath("public"))}
	if _, err := b.pool.Exec(t.Context(), seedSQL); err != nil {
		t.Fatal(err)
	}
	b.box = openBox(t, b.pool)
	testkit.Run(t, func(ctx context.Context) error { return b.box.Run(ctx, reports.Worker(sendReport)) })
	b.operator = b.serve(t, b.box, ops.PermissionRead, ops.PermissionPayloads, ops.PermissionChange)
	b.reader = b.serve(t, b.box, ops.PermissionRead)
	return b
}

// reports is the queue that a process of the tests works on.
var reports = queue.Define[map[string]any]("reports", queue.Config{})

func sendReport(context.Context, queue.Task[map[string]any]) error { return nil }

func openBox(t *testing.T, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// serve serves the page to one person with some permissions.
func (b *bed) serve(t *testing.T, box *outbox.Box, permissions ...ops.Permission) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler(t, box, permissions...))
	t.Cleanup(func() {
		server.CloseClientConnections() // live streams
		server.Close()
	})
	return server
}

func handler(t *testing.T, box *outbox.Box, permissions ...ops.Permission) http.Handler {
	t.Helper()
	h, err := ops.Handler(box, ops.Config{Title: "shop, production", Timeout: testkit.Soon, Refresh: time.Second,
		Authorize: func(_ *http.Request, need ops.Permission) (string, error) {
			for _, p := range permissions {
				if p == need {
					return "oncall", nil
				}
			}
			return "oncall", ops.ErrForbidden
		}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// startBrowser starts Chromium, which ends with the test.
func startBrowser(t *testing.T, program string) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program),
		chromedp.WSURLReadTimeout(testkit.Soon))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	browser, end := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(end)
	if err := chromedp.Do(browser); err != nil {
		t.Fatal(err)
	}
	return browser
}
