package outbox

import (
	"sync"
	"sync/atomic"
	"time"
)

// dbClock knows the time of the database's clock, to measure how long something has waited that the
// database has dated. Nothing is decided by it. Safe for concurrent use: each handler that begins asks it, so now
// takes no lock.
type dbClock struct {
	known    atomic.Pointer[clockReading] // nil while no answer has come
	learning sync.Mutex                   // held by whoever replaces it
}

// clockReading says what the database's clock showed.
type clockReading struct {
	theirs time.Time     // the database's time at ours
	ours   time.Time     // with its monotonic reading: a step of this process's clock moves nothing
	within time.Duration // how far off it may be
}

// clockDrift is by how much two clocks may diverge, one part in so many.
const clockDrift = 2000

// answered takes an answer of the database, which read its clock between sent and received. An answer that is
// less precise than what is known, with the drift since then, is left.
func (c *dbClock) answered(theirs, sent, received time.Time) {
	c.learning.Lock()
	defer c.learning.Unlock()
	within := received.Sub(sent) / 2
	if k := c.known.Load(); k != nil && within > k.within+received.Sub(k.ours)/clockDrift {
		return
	}
	c.known.Store(&clockReading{theirs: theirs, ours: sent.Add(within), within: within})
}

// now returns the database's time; this process's while no answer has come.
func (c *dbClock) now(local time.Time) time.Time {
	k := c.known.Load()
	if k == nil {
		return local
	}
	return k.theirs.Add(local.Sub(k.ours))
}
