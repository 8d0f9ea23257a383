package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/testkit"
)

// strunk schema check, on a directory and without a database, gives the verdicts of testdata/schemas as exit codes.
func TestSchemaCheckGivesTheSharedVerdicts(t *testing.T) {
	t.Parallel()
	type verdict struct {
		Why        string
		Old, New   json.RawMessage
		Compatible map[string]bool
	}
	for name, c := range testkit.Fixtures[verdict](t, "schemas") {
		dir := filepath.Join(t.TempDir(), "schemas")
		writeVersions(t, dir, map[string]json.RawMessage{"1.0": c.Old, "1.1": c.New})
		for mode, want := range c.Compatible {
			var out, errs bytes.Buffer
			code := cli.Run(t.Context(), []string{"strunk", "schema", "check", dir, "--mode", mode},
				cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
			if (code == cli.ExitDone) != want || code > 1 {
				t.Errorf("%s, %s: exit code %d; compatible should be %v: %s\n%s%s", name, mode, code, want, c.Why,
					out.String(), errs.String())
			}
		}
	}
}

func writeVersions(t *testing.T, dir string, versions map[string]json.RawMessage) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "order"), 0o755); err != nil {
		t.Fatal(err)
	}
	for version, document := range versions {
		if err := os.WriteFile(filepath.Join(dir, "order", version+".json"), document, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
