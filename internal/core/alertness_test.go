package core

import (
	"testing"
	"time"
)

// Whoever finds many tasks is awake, sleeps when they end, and says so again where it may have been forgotten.
func TestAlertness(t *testing.T) {
	t.Parallel()
	var a Alertness
	at := time.Now()
	step := func(tasks int, after time.Duration, want bool) {
		t.Helper()
		at = at.Add(after)
		a.Sees(tasks, at)
		got := a.Awake(at)
		if got != want {
			t.Errorf("%d tasks after %v: awake: %v; want %v", tasks, after, got, want)
		}
		a.Notes(got)
	}
	step(1000, 0, false) // one batch does not wake it
	step(busyFound-1, 2*busyWindow, false)
	step(busyFound, busyWindow, false)
	step(busyFound-1, busyWindow, false)
	step(1, time.Millisecond, true)
	step(0, AwakeFor-time.Millisecond, true)
	step(0, time.Millisecond, false)
	if a.Doubt(); a.Awake(at) || !a.Noted() {
		t.Error("after a break the row is not written again")
	}
	if p := a.Pause(time.Second); p != AwakePause {
		t.Errorf("while the row may say awake the pause is %v; want %v", p, AwakePause)
	}
	if a.Notes(false); a.Pause(time.Second) != time.Second {
		t.Error("a worker that is asleep does not wait as long as it is told to")
	}
	var never Alertness
	if never.Doubt(); never.Noted() {
		t.Error("a worker that was never awake writes after a break")
	}
}
