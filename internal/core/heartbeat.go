package core

import "time"

// HeartbeatWatch tells how long a heartbeat has stood still in this process's own connected,
// monotonic time. No clock is compared, and no freeze of this process makes the heartbeat look old.
// It is for one goroutine. Its zero value has seen nothing; after an outage, watch with a new one.
type HeartbeatWatch[Heartbeat comparable] struct {
	heartbeat Heartbeat // that was seen last
	since     time.Time // since when it has not changed
	last      time.Time // of the last look
}

// Look returns how long the heartbeat has stood, as seen since the first of the looks that follow
// on one another. A process that has not looked for longer than gap has not watched: it counts anew.
func (w *HeartbeatWatch[Heartbeat]) Look(now time.Time, gap time.Duration, heartbeat Heartbeat) time.Duration {
	if w.last.IsZero() || now.Sub(w.last) > gap || w.heartbeat != heartbeat {
		w.heartbeat, w.since = heartbeat, now
	}
	w.last = now
	return now.Sub(w.since)
}
