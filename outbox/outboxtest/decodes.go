package outboxtest

import (
	"testing"

	"github.com/strunk-go/strunk/outbox"
)

// RequireDecodes fails the test where the database holds payloads that this program would set aside as poison, and
// names them. It is [outbox.CheckPayloads] with its default limit: for a box on the database that a new version is to
// be deployed on, or on a copy of it. It changes nothing there.
func RequireDecodes(t testing.TB, box *outbox.Box, of ...outbox.Payloads) {
	t.Helper()
	report, err := outbox.CheckPayloads(t.Context(), box, 0, of...)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d stored payloads were decoded; complete: %v", report.Checked, report.Complete)
}
