package events

import (
	"slices"
	"testing"
	"time"
)

// An owner whose sessions end at once reads its place again less and less often, and at once after one that went on.
func TestReloadsAreSpaced(t *testing.T) {
	t.Parallel()
	var pause reloadPause
	var pauses []time.Duration
	for range 12 {
		pauses = append(pauses, pause.after(time.Millisecond))
	}
	if !slices.IsSorted(pauses) || pauses[0] > 100*time.Millisecond || pauses[11] != maxReloadPause {
		t.Errorf("after sessions that ended at once: %v; want rising pauses up to %v", pauses, maxReloadPause)
	}
	if again := pause.after(time.Minute); again != pauses[0] {
		t.Errorf("after a session of a minute: %v; want %v", again, pauses[0])
	}
}
