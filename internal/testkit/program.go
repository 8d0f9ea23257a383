package testkit

import (
	"errors"
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
	LeaveOut(t, name+" is not installed")
	return ""
}

// LeaveOut skips the test for want of a program; with RequireAllEnv set, the test fails.
func LeaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(RequireAllEnv) != "" {
		t.Fatalf("%s, and %s requires it", why, RequireAllEnv)
	}
	t.Skipf("left out: %s", why)
}

// NeedsInstalled leaves the test out where the error says that a program is not installed (exec.ErrNotFound).
func NeedsInstalled(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		LeaveOut(t, err.Error())
	case err != nil:
		t.Fatal(err)
	}
}
