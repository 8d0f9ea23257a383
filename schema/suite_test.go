package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suiteDir is the environment variable that names the directory tests/draft7 of a copy of the official
// JSON-Schema-Test-Suite. The suite is not part of this repository.
const suiteDir = "JSON_SCHEMA_SUITE"

// officialSuite is where the official suite is, and how many cases it must have at least. Without the variable it is
// the copy of 2018 that the module of gojsonschema brings along, which lacks what the suite has learnt since.
func officialSuite(t *testing.T) (dir string, least int) {
	t.Helper()
	if dir := os.Getenv(suiteDir); dir != "" {
		return dir, 800
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/xeipuuv/gojsonschema").Output()
	if err != nil || strings.TrimSpace(string(out)) == "" {
		t.Skipf("left out: %s names no copy of the official suite, and no module has one: %v", suiteDir, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata", "draft7"), 350
}

type suiteGroup struct {
	Description string
	Schema      json.RawMessage
	Tests       []struct {
		Description string
		Data        json.RawMessage
		Valid       bool
	}
}

func readSuite(t *testing.T, dir, pattern string) map[string][]suiteGroup {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, pattern))
	if len(names) == 0 {
		t.Fatalf("%s holds no file %s", dir, pattern)
	}
	groups := map[string][]suiteGroup{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var read []suiteGroup
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(name, err)
		}
		groups[strings.TrimSuffix(filepath.Base(name), ".json")] = read
	}
	return groups
}

// The official suite: every case whose schema compiles has the verdict that it should; schemas that are refused are
// refused for one of the reasons that docs/schemas.md gives.
func TestOfficialSuite(t *testing.T) {
	dir, least := officialSuite(t)
	right, refused := 0, 0
	for file, groups := range readSuite(t, dir, "*.json") {
		for _, group := range groups {
			schema, err := Compile(group.Schema)
			if err != nil {
				refused += len(group.Tests)
				if !isDocumented(err) {
					t.Errorf("%s: %s: %v", file, group.Description, err)
				}
				continue
			}
			for _, test := range group.Tests {
				if err := schema.Validate(test.Data); (err == nil) != test.Valid {
					t.Errorf("%s: %s: %s: got %v", file, group.Description, test.Description, err)
				}
				right++
			}
		}
	}
	t.Logf("%d cases, and %d of schemas that are refused", right, refused)
	if right < least {
		t.Errorf("only %d cases were run", right)
	}
}

// isDocumented: what Compile refuses by design.
func isDocumented(err error) bool {
	for _, reason := range []string{
		"leaves the document", "stands beside $ref", "is allowed at the root alone", "does nothing without",
		"does nothing unless",
		"would not be enforced", "expressions are those of Go", "leads to no schema", "so that nothing fits",
		"without going through a property",
		"is an empty list",
	} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	return false
}

// knownFormats are the formats that differ from the suite in some cases, and in how many. docs/schemas.md says why.
var knownFormats = map[string]int{
	"hostname":         23, // the letters that punycode encodes are not looked at
	"ecmascript-regex": 9,  // expressions are those of Go
	"iri":              1,  // net/url knows no IPvFuture with a capital V
}

func TestOfficialFormats(t *testing.T) {
	dir := os.Getenv(suiteDir)
	if dir == "" {
		t.Skip("left out: " + suiteDir + " names no copy of the official suite (its directory tests/draft7)")
	}
	for file, groups := range readSuite(t, dir, "optional/format/*.json") {
		var wrong []string
		for _, group := range groups {
			schema, err := Compile(group.Schema)
			if err != nil {
				continue // a format that is refused by name
			}
			for _, test := range group.Tests {
				if (schema.Validate(test.Data) == nil) != test.Valid {
					wrong = append(wrong, fmt.Sprintf("%s: %s: %v", test.Description, test.Data, test.Valid))
				}
			}
		}
		if len(wrong) != knownFormats[file] {
			t.Errorf("%s: %d cases are known, and these differ:\n%s", file, knownFormats[file],
				strings.Join(wrong, "\n"))
		}
	}
}

// What draft 7 asks of each keyword, in our own words: testdata/draft7.json has a schema, the values that it accepts,
// and those that it refuses.
func TestDraft7(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "draft7.json"))
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Description      string
		Schema           json.RawMessage
		Accepts, Refuses []json.RawMessage
	}
	if err := json.Unmarshal(text, &groups); err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		t.Run(group.Description, func(t *testing.T) {
			schema, err := Compile(group.Schema)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range group.Accepts {
				if err := schema.Validate(value); err != nil {
					t.Errorf("%s: %v", value, err)
				}
			}
			for _, value := range group.Refuses {
				if err := schema.Validate(value); !errors.Is(err, ErrInvalidPayload) {
					t.Errorf("%s: got %v", value, err)
				}
			}
		})
	}
}
