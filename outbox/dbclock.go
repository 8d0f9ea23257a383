package outbox

import (
	"sync"
	"time"
)

// dbClock knows the time of the database's clock, to measure how long something has waited that the
// database has dated. Nothing is decided by it. Safe for concurrent use.
type dbClock struct {
	mu     sync.RWMutex
	theirs time.Time     // the database's time at ours; zero while it is not known
	ours   time.Time     // with its monotonic reading: a step of this process's clock moves nothing
	within time.Duration // how far off it may be
}

// clockDrift is by how much two clocks may diverge, one part in so many.
const clockDrift = 2000

// answered takes an answer of the database, which read its clock between sent and received. An answer that is
// less precise than what is known, with the drift since then, is left.
func (c *dbClock) answered(theirs, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	within := received.Sub(sent) / 2
	if !c.theirs.IsZero() && within > c.within+received.Sub(c.ours)/clockDrift {
		return
	}
	c.theirs, c.ours, c.within = theirs, sent.Add(within), within
}

// now returns the database's time; this process's while no answer has come.
func (c *dbClock) now(local time.Time) time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.theirs.IsZero() {
		return local
	}
	return c.theirs.Add(local.Sub(c.ours))
}
