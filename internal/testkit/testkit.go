// Package testkit holds what the tests of several packages share. It imports none of our packages, so that the tests of
// each can use it.
package testkit

import (
	"context"
	"sync"
	"testing"
	"time"
)

const (
	// Soon is how long Eventually waits: much longer than a busy machine takes, and shorter than a test's deadline.
	Soon = 2 * time.Minute

	// atMost is how long EventuallyState waits for what goes on.
	atMost = 5 * Soon

	// pause is the time between two checks.
	pause = 5 * time.Millisecond
)

// Eventually waits until holds returns true, and fails the test where that takes longer than Soon.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	EventuallyState(t, what, func() (string, bool) { return "", holds() })
}

// EventuallyState is Eventually for a check that says how things stand, which is reported where it never holds. As long
// as the state changes, much work goes on, on a slow machine perhaps: Soon is counted from the last change.
func EventuallyState(t testing.TB, what string, check func() (state string, ok bool)) {
	t.Helper()
	eventually(t, patience{soon: Soon, atMost: atMost}, what, check)
}

// patience is how long to wait without a change, and in all.
type patience struct{ soon, atMost time.Duration }

func eventually(t testing.TB, p patience, what string, check func() (string, bool)) {
	t.Helper()
	began := time.Now()
	for last, changed := "", began; ; time.Sleep(pause) {
		state, ok := check()
		if ok {
			return
		}
		now := time.Now()
		if state != last {
			last, changed = state, now
		}
		if now.Sub(changed) > p.soon || now.Sub(began) > p.atMost {
			t.Fatalf("not within %v: %s; last seen: %q", now.Sub(began).Round(time.Second), what, state)
		}
	}
}

// Run calls run in the background, until the returned function is called or the test ends. That ends run's context and
// waits; the test fails where run returns an error, or does not return.
func Run(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	return RunUntil(t, ctx, cancel, run)
}

// RunUntil is Run for a test that ends the context by cancel itself.
func RunUntil(t testing.TB, ctx context.Context, cancel func(), run func(context.Context) error) (stop func()) {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * Soon):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(stop)
	return stop
}
