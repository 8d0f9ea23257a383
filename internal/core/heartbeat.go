package core

import "time"

// lateness is how much later than planned a look at a heartbeat may come, beside a whole pause.
const lateness = 500 * time.Millisecond

// HeartbeatWatch tells how long a heartbeat has stood still in this process's own connected,
// monotonic time. No clock is compared, and no freeze of this process makes the heartbeat look old.
// It is for one goroutine. Its zero value has seen nothing; after an outage, watch with a new one.
type HeartbeatWatch[Heartbeat comparable] struct {
	heartbeat Heartbeat     // that was seen last
	last      time.Time     // of the last look; zero before the first
	still     time.Duration // for which the heartbeat was watched standing still
}

// Look returns for how long the heartbeat was watched standing still, in looks that follow on one another about every
// pause. Between two looks that lie far apart this process may have been frozen, and the heartbeat with it: that time
// counts as one pause, however long it was. So a process that is slow, or frozen now and then, sees the end of a lease
// late, but it does see it.
func (w *HeartbeatWatch[Heartbeat]) Look(now time.Time, pause time.Duration, heartbeat Heartbeat) time.Duration {
	watched := now.Sub(w.last)
	if watched > 2*pause+lateness {
		watched = pause
	}
	w.still += watched
	if w.last.IsZero() || w.heartbeat != heartbeat {
		w.heartbeat, w.still = heartbeat, 0
	}
	w.last = now
	return w.still
}
