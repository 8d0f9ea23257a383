package outbox

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// startPatience is how long the maintenance loops wait for bindings that do not begin: the pool may have no connection
// left for them, for example.
const startPatience = 15 * time.Second

// start is the beginning of a Run: the bindings get to their first tasks before the maintenance loops ask the database
// for anything.
type start struct {
	waiting atomic.Int64  // for bindings that have not begun
	all     chan struct{} // closed when all have
}

// newStart waits for those bindings that say when they have begun.
func newStart(bound []core.Binding) *start {
	s := &start{all: make(chan struct{})}
	s.waiting.Store(1)
	for _, c := range bound {
		if _, ok := c.(core.Beginner); ok {
			s.waiting.Add(1)
		}
	}
	s.done()
	return s
}

func (s *start) done() {
	if s.waiting.Add(-1) == 0 {
		close(s.all)
	}
}

// begun returns the function by which a binding says that it has begun.
func (s *start) begun(c core.Binding) func() {
	if _, ok := c.(core.Beginner); !ok {
		return func() {}
	}
	return sync.OnceFunc(s.done)
}

// await returns when all have begun, when that takes too long, or at the end of ctx.
func (s *start) await(ctx context.Context) { core.SleepOrWake(ctx, startPatience, s.all) }
