package queue

import (
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

// Stored checks an item and returns it as Enqueue would store it: for strunk's own packages that enqueue it later.
func (i Item) Stored(core.Seal) (core.StoredItem, error) {
	var p params
	if i.opts.limitKey != nil {
		return core.StoredItem{}, fmt.Errorf("strunk/queue: Key: a schedule's task has none: enqueue the tasks of keys from its handler: %w", ErrInvalid)
	}
	if err := addItem(&p, i); err != nil {
		return core.StoredItem{}, err
	}
	return core.StoredItem{
		Queue: i.def.name, Payload: *p.payloads[0], Metadata: p.metadata[0], DedupKey: p.dedups[0],
		TimeoutMS: p.timeouts[0], Priority: *p.priorities[0], MaxAttempts: *p.attempts[0],
		Timed: i.opts.delay != nil || i.opts.due != nil,
	}, nil
}
