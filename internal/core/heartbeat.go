package core

import "time"

// HeartbeatWatch tells how long heartbeats have stood still in this process's own connected,
// monotonic time. No clock is compared, and neither an outage nor a freeze of this process makes a
// heartbeat look old. It is for one goroutine.
type HeartbeatWatch[ID, Heartbeat comparable] struct {
	seen map[ID]sighting[Heartbeat]
	last time.Time
}

// sighting is the heartbeat that was seen last, and since when it has not changed.
type sighting[Heartbeat comparable] struct {
	heartbeat Heartbeat
	since     time.Time
}

// Look begins a look at heartbeats. A process that has not looked for longer than gap has not watched: every heartbeat
// counts anew.
func (w *HeartbeatWatch[ID, Heartbeat]) Look(now time.Time, gap time.Duration) {
	if now.Sub(w.last) > gap {
		w.Forget()
	}
	w.last = now
}

// Still returns how long the heartbeat of id has stood at heartbeat, as seen since the first of the
// looks that follow on one another.
func (w *HeartbeatWatch[ID, Heartbeat]) Still(id ID, heartbeat Heartbeat) time.Duration {
	s, known := w.seen[id]
	if !known || s.heartbeat != heartbeat {
		if w.seen == nil {
			w.seen = map[ID]sighting[Heartbeat]{}
		}
		s = sighting[Heartbeat]{heartbeat: heartbeat, since: w.last}
		w.seen[id] = s
	}
	return w.last.Sub(s.since)
}

// Forget has every heartbeat counted anew, as after an outage.
func (w *HeartbeatWatch[ID, Heartbeat]) Forget() { clear(w.seen) }
