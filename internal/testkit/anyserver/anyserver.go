// Package anyserver lets the tests and examples of this repository run on any machine: it registers every way to a
// PostgreSQL server that outboxtest knows. Who imports it has pools with an empty search_path, unless SearchPath says
// otherwise: a statement of ours that forgets to qualify a name fails.
package anyserver

import (
	"errors"
	"testing"

	"github.com/strunk-go/strunk/internal/pgserver"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
)

func init() { pgserver.DefaultSearchPath = "" }

// Own starts a server that no other test uses, which the test may stop and start: never that of DATABASE_URL.
func Own(t testing.TB, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	var tried []error
	for _, way := range []string{"installed", "download"} {
		cfg.Only = way
		server, err := pgserver.Start(t.Context(), cfg)
		if err == nil {
			t.Cleanup(func() { _ = server.Close() })
			return server
		}
		tried = append(tried, err)
	}
	t.Fatalf("this test needs a server of its own: %v", errors.Join(tried...))
	return nil
}
