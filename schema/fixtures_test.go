package schema_test

import (
	"encoding/json"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/schema"
)

// The verdicts of testdata/schemas are those of Check, and of CheckHistory for a history of one version.
func TestSharedVerdicts(t *testing.T) {
	t.Parallel()
	type verdict struct {
		Why        string
		Old, New   json.RawMessage
		Compatible map[schema.Mode]bool
	}
	for name, c := range testkit.Fixtures[verdict](t, "schemas") {
		old, next := schema.Revision{Version: "1.0", Document: []byte(c.Old)},
			schema.Revision{Version: "1.1", Document: []byte(c.New)}
		for mode, want := range c.Compatible {
			if err := schema.Check(old, next, mode); (err == nil) != want {
				t.Errorf("%s, %s: %v; compatible should be %v: %s", name, mode, err, want, c.Why)
			}
			if err := schema.CheckHistory([]schema.Revision{old}, next, mode); (err == nil) != want {
				t.Errorf("%s, %s, as a history: %v; compatible should be %v: %s", name, mode, err, want, c.Why)
			}
		}
	}
}
