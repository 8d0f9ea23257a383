package cli_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/testkit"
)

// TestDemoServes looks at the demo's page until it shows a dead letter, and ends the demo.
func TestDemoServes(t *testing.T) {
	t.Parallel()
	url, end := served(t, "demo", "--serve", "--address", "localhost:0")
	testkit.EventuallyState(t, "the page shows a dead letter", func() (string, bool) {
		text := get(t.Context(), url+"tasks?queue=email-queue&status=dead")
		return text, strings.Contains(text, "550 no such mailbox")
	})
	if got := end(); got != cli.ExitDone {
		t.Errorf("the demo ended with %d; want %d", got, cli.ExitDone)
	}
}

// get returns what an address answers, or why it does not.
func get(ctx context.Context, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
