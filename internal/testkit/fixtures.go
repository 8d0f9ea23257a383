package testkit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Fixtures reads the JSON files of a folder of the module's testdata, by their names without ".json". A folder without
// files fails the test, and so does a field that T does not have.
func Fixtures[T any](t testing.TB, folder string) map[string]T {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(shared(), folder, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures in testdata/%s: %v", folder, err)
	}
	all := map[string]T{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var fixture T
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&fixture); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = fixture
	}
	return all
}
