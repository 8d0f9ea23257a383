//go:build unix

package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// Commands need no flag behind a pooler in transaction mode: none leans on a session.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), "SET LOCAL search_path TO public;"+testkit.Installation(t)); err != nil {
		t.Fatal(err)
	}
	dsn := faults.PgBouncer(t, outboxtest.DSN(pool), 2)
	for _, command := range []string{"stats", "queues", "subscribers", "why 101", "retry 102", "pause emails",
		"resume emails", "cancel 101", "dead-letters emails", "errors", "health", "doctor", "migrate --check",
		"stats"} {
		var out bytes.Buffer
		args := append([]string{"strunk", "--database-url", dsn}, strings.Fields(command)...)
		code := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
		if code != cli.ExitDone && code != cli.ExitUnhealthy {
			t.Errorf("strunk %s: exit code %d: %s", command, code, out.String())
		}
	}
}
