package testkit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// Answer is a document that a command prints with --json and that the HTTP API answers with as well: testdata/answers.
type Answer struct {
	Command []string // of the program strunk
	Path    string   // of the API
	Field   string   // of the API's answer, which holds the document; empty where it is the whole answer
	Answer  any      // after [Steady]
}

// Answers reads testdata/answers, by the names of the files.
func Answers(t testing.TB) map[string]Answer { return Fixtures[Answer](t, "answers") }

// Installation is the SQL that makes what the answers describe.
func Installation(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared(), "answers", "installation.sql"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shared is the directory of the fixtures that several packages share.
func shared() string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "..", "testdata")
}

var aTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)

// Steady decodes a JSON document and puts "TIME" for its times and "AGE" for what is counted in seconds.
func Steady(t testing.TB, document string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	return steady("", v)
}

func steady(field string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			v[name] = steady(name, value)
		}
	case []any:
		for i, value := range v {
			v[i] = steady(field, value)
		}
	case string:
		if aTime.MatchString(v) {
			return "TIME"
		}
	case float64:
		if strings.HasSuffix(field, "_seconds") {
			return "AGE"
		}
	}
	return v
}

// WriteAnswer writes an answer's file anew.
func WriteAnswer(t testing.TB, name string, a Answer) {
	t.Helper()
	text, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(shared(), "answers", name+".json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
