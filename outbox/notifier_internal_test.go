package outbox

import (
	"testing"
	"time"
)

// Announcements that come one by one are sent inside their transactions; those of a burst, or while a NOTIFY is under
// way, after them, for many at once.
func TestOnlySeldomAnnouncementsAreSentInside(t *testing.T) {
	t.Parallel()
	n := newNotifier(nil)
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		name   string
		after  time.Duration
		busy   bool
		inside bool
	}{
		{"the first", 0, false, true},
		{"another soon", seldomPause - 1, false, false},
		{"as soon after that one", 2*seldomPause - 2, false, false},
		{"after a pause", 3*seldomPause - 2, false, true},
		{"after a pause, while a NOTIFY is under way", 4*seldomPause - 2, true, false},
		{"after both", 5*seldomPause - 2, false, true},
	} {
		n.busy = step.busy
		if got := n.seldom(began.Add(step.after)); got != step.inside {
			t.Errorf("%s: inside is %v; want %v", step.name, got, step.inside)
		}
	}
}
