// Package testkit holds what the tests of several packages share. It imports none of our packages, so that the tests of
// each can use it.
package testkit

import (
	"testing"
	"time"
)

const (
	// Soon is how long Eventually waits: much longer than a busy machine takes, and shorter than a test's deadline.
	Soon = 2 * time.Minute

	// pause is the time between two checks.
	pause = 5 * time.Millisecond
)

// Eventually waits until holds returns true, and fails the test where that takes longer than Soon.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	EventuallyState(t, what, func() (string, bool) { return "", holds() })
}

// EventuallyState is Eventually for a check that says how things stand, which is reported where it never holds.
func EventuallyState(t testing.TB, what string, check func() (state string, ok bool)) {
	t.Helper()
	eventually(t, Soon, what, check)
}

func eventually(t testing.TB, limit time.Duration, what string, check func() (string, bool)) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(pause) {
		state, ok := check()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s; last seen: %q", limit, what, state)
		}
	}
}
