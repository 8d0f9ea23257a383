package queue

import (
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// errand is something that a session must get through to the database.
type errand int

const (
	claimErrand errand = iota
	quotaErrand
	startErrand
	outcomeErrand
	errands
)

// minPassageTime is how long an errand may wait before its worker counts as stuck; the lease where that is longer.
const minPassageTime = claimTimeout

// passage knows whether a session gets through to the database. A worker that does not, because the
// application has leaked the pool's connections for example, must not keep its tasks from others by
// heartbeats alone. Safe for concurrent use.
type passage struct {
	patience time.Duration
	running  func() bool // handlers are running: they may rightly hold all connections

	mu    sync.Mutex
	since [errands]time.Time // since when an errand has waited; zero for not at all
}

func newPassage(lease time.Duration, b *prefetch) *passage {
	return &passage{patience: max(lease, minPassageTime), running: func() bool { return b.running.Load() > 0 }}
}

// begin records that an errand waits, from its first try on.
func (p *passage) begin(e errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since[e].IsZero() {
		p.since[e] = time.Now()
	}
}

// through records that an errand got through, or is no longer needed.
func (p *passage) through(e errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since[e] = time.Time{}
}

// end records the end of a try. Without an answer of the server the errand waits on.
func (p *passage) end(e errand, err error) {
	if !core.AnswerLost(err) {
		p.through(e)
	}
}

// stuck reports whether an errand has waited for too long. While handlers run, which may hold all
// connections, only an outcome counts.
func (p *passage) stuck() bool {
	running := p.running()
	p.mu.Lock()
	defer p.mu.Unlock()
	for e, since := range p.since {
		if !since.IsZero() && time.Since(since) > p.patience && (!running || errand(e) == outcomeErrand) {
			return true
		}
	}
	return false
}
