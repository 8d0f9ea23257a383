package queue

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
)

func init() {
	queuelink.DryRun = func(ctx context.Context, w core.Binding, tx, payload any, options []any) (queuelink.Outcome,
		error) {
		opts := make([]EnqueueOption, len(options))
		for i, o := range options {
			opts[i] = o.(EnqueueOption)
		}
		return newDryRun(w.(*worker), tx.(*outbox.OwnedTx)).run(ctx, payload, opts)
	}
	queuelink.Waiting = func(ctx context.Context, q, tx any, add func(any) error) error {
		t, _ := tx.(outbox.Tx)
		def := q.(interface{ definition() *definition }).definition()
		return eachWaiting(ctx, def, t, func(task Task[json.RawMessage]) error { return add(task) })
	}
	queuelink.Stored = func(item any) (core.StoredItem, error) { return item.(Item).stored() }
}

// stored checks an item and returns it as Enqueue would store it.
func (i Item) stored() (core.StoredItem, error) {
	var p params
	if i.opts.customerKey != nil {
		return core.StoredItem{}, fmt.Errorf("strunk/queue: CustomerKey: a schedule's task has none: "+
			"enqueue the tasks of keys from its handler: %w", ErrInvalid)
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
