package events

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

const (
	// saveInterval is how often the cursor is stored while events are handled; idleInterval, while
	// it only passes those of other entity types. The cursor's row is one that every move adds a
	// version to.
	saveInterval = 50 * time.Millisecond
	idleInterval = time.Second
)

// cursor stores how far a subscriber is.
type cursor struct {
	t       *tenure
	source  source
	lanes   *lanes
	latency *latency
	// quiet says that handlers' transactions move the cursor: only what none of them has passed is stored here.
	quiet bool
}

func newCursor(t *tenure, src source, lanes *lanes, latency *latency) *cursor {
	return &cursor{t: t, source: src, lanes: lanes, latency: latency, quiet: t.work.inTx}
}

// run stores the cursor until stop is closed, and then once more.
func (c *cursor) run(stop <-chan struct{}) {
	interval := saveInterval
	if c.quiet {
		interval = idleInterval
	}
	var at time.Time
	var handled int64
	for ended := false; !ended; {
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-stop:
			ended = true
		}
		timer.Stop()
		low, n := c.lanes.lowWatermark(), c.latency.handled.Load()
		if low > c.source.stored() && (ended || c.quiet || n > handled || time.Since(at) >= idleInterval) &&
			c.save(low) {
			handled, at = n, time.Now()
		}
	}
}

func (c *cursor) save(low int64) bool {
	if c.t.over() {
		return false
	}
	m := c.source.move(low)
	if err := c.t.guarded(c.t.life.End, unflushed, m.sql, m.args...); err != nil {
		c.t.logError(c.t.rt, "storing the cursor failed", err)
		return false
	}
	if !c.t.over() {
		m.stored()
	}
	return true
}

// passing stores, in a handler's transaction, that everything up to an item is handled. Without one it is nothing.
func (c *cursor) passing(last int64) settlement {
	if !c.t.work.inTx {
		return settlement{}
	}
	m := c.source.move(last)
	return settlement{
		in: func(ctx context.Context, tx *outbox.OwnedTx) error {
			return c.t.guardedIn(ctx, tx, m.sql, m.args...)
		},
		committed: m.stored,
	}
}

// settlement is what commits together with what a handler in a transaction writes.
type settlement struct {
	in        func(ctx context.Context, tx *outbox.OwnedTx) error
	committed func() // called after the commit
}
