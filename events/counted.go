package events

import (
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// counted counts what happens to a subscriber's events in this process. Parked and dead ones are counted by the
// statements that store them. Safe for concurrent use.
type counted struct {
	host core.Host
	in   *core.Counters
}

func newCounted(t *tenure) *counted {
	return &counted{host: t.rt, in: t.rt.Counters(core.CountersOf{Kind: core.CountersOfSubscriber, Name: t.name,
		EntityType: t.def.entityType})}
}

// began counts how long events have waited that a handler begins at now for the first time. The wait before another
// attempt, and the age of a snapshot, are no latency.
func (c *counted) began(items []*item, now time.Time) {
	database := c.host.DatabaseTime(now)
	for _, it := range items {
		if it.begun || it.attempt > 1 || it.fromSnapshot {
			continue
		}
		it.begun = true
		c.in.Waits.ObserveTraced(database.Sub(it.publishedAt), it.metadataJSON)
	}
}

// ran counts events whose handler has returned after d. A batch that failed is no attempt: its events are handled
// one by one.
func (c *counted) ran(items []*item, d time.Duration, err error) {
	for _, it := range items {
		c.in.Runs.ObserveTraced(d, it.metadataJSON)
	}
	switch {
	case err == nil:
		c.in.Done.Add(int64(len(items)))
	case len(items) == 1:
		c.failed()
	}
}

// failed counts an attempt that has failed.
func (c *counted) failed() { c.in.Failed.Add(1) }
