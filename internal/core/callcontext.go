package core

import (
	"context"
	"sync"
	"time"
)

// CallContext is the context of one call of a handler. It ends at a deadline, with its parent, or when the call has
// returned and End is called. What that takes, a timer and an entry with the parent, is made on the first use of the
// context: most handlers of events use theirs not at all or only to pass it on to a query, and making it costs more
// than a short handler does. Safe for concurrent use.
type CallContext struct {
	parent   context.Context
	deadline time.Time
	cause    error // of an end at the deadline

	mu     sync.Mutex
	used   context.Context // nil before the first use
	cancel context.CancelFunc
	ended  bool
}

// NewCallContext returns a context of which nothing has been used. The caller calls End.
func NewCallContext(parent context.Context, deadline time.Time, cause error) *CallContext {
	return &CallContext{parent: parent, deadline: deadline, cause: cause}
}

// End ends the context: the call has returned.
func (c *CallContext) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended = true; c.cancel != nil {
		c.cancel()
	}
}

// use returns the context that the standard library makes for the same purpose.
func (c *CallContext) use() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		if c.used, c.cancel = context.WithDeadlineCause(c.parent, c.deadline, c.cause); c.ended {
			c.cancel()
		}
	}
	return c.used
}

// Deadline implements context.Context.
func (c *CallContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *CallContext) Done() <-chan struct{} { return c.use().Done() }

// Err implements context.Context.
func (c *CallContext) Err() error { return c.use().Err() }

// Value implements context.Context. The standard library asks by it for the context that ends, as context.Cause does.
func (c *CallContext) Value(key any) any { return c.use().Value(key) }
