package outbox

import (
	"sync/atomic"
	"time"
)

// breaks counts how often what this process remembers of the database may have become wrong: a
// connection that lasts was lost, another server answers, or a stored number is below one that
// was read before. After a failover to a copy that was behind, a restore, or a crash that lost
// commits, whoever keeps positions in memory reads them again. Safe for concurrent use.
type breaks struct {
	n atomic.Int64
	// server is when the server that answered last was started, in microseconds; 0 for not known.
	server atomic.Int64
}

// broke records a break, says so, and has every loop look at once.
func (b *Box) broke(why string) {
	b.breaks.n.Add(1)
	b.cfg.Logger.Warn("strunk: the database may not be where this process left it; every position is read again",
		"why", why)
	b.wakeUps.wakeAll()
}

// answered records which server has answered.
func (b *Box) answered(started time.Time) {
	now := started.UnixMicro()
	if before := b.breaks.server.Swap(now); before != 0 && before != now {
		b.broke("the server was restarted, or another one took its place")
	}
}
