package testkit

import (
	"os"
	"os/exec"
	"testing"
)

// RequireAllEnv is the environment variable that makes a missing program a failure. CI sets it (.ci/run).
const RequireAllEnv = "STRUNK_TEST_ALL"

// Program returns the path of a program that is part of neither Go, git nor PostgreSQL: the one on
// PATH, else the first of the usual places. Where it is missing, the test is skipped; with
// RequireAllEnv set, the test fails.
func Program(t testing.TB, name string, usualPlaces ...string) string {
	t.Helper()
	for _, candidate := range append([]string{name}, usualPlaces...) {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	if os.Getenv(RequireAllEnv) != "" {
		t.Fatalf("%s is not installed, and %s requires it", name, RequireAllEnv)
	}
	t.Skipf("left out: %s is not installed", name)
	return ""
}
