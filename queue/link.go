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
		return newDryRun(w.(*worker), tx.(*outbox.OwnedTx)).run(ctx, payload, enqueueOptionsOf(options))
	}
	queuelink.Enqueue = func(ctx context.Context, w core.Binding, tx, payload any, options []any) (int64, error) {
		item := newTestItem(w.(*worker).def, payload, enqueueOptionsOf(options))
		done, err := enqueue(ctx, tx.(*outbox.OwnedTx), "enqueue", []Item{item})
		if err != nil {
			return 0, err
		}
		return done[0].ID, nil
	}
	queuelink.Around = func(w core.Binding, around queuelink.Attempt) (core.Binding, error) {
		return w.(*worker).around(around)
	}
	queuelink.Waiting = func(ctx context.Context, q, tx any, add func(any) error) error {
		t, _ := tx.(outbox.Tx)
		def := q.(interface{ definition() *definition }).definition()
		return eachWaiting(ctx, def, t, func(task Task[json.RawMessage]) error { return add(task) })
	}
	queuelink.Loaded = func(ctx context.Context, q any, host core.Host, stored core.StoredPayload,
		add func([]byte, map[string]string)) error {
		def := q.(interface{ definition() *definition }).definition()
		return payloads[json.RawMessage]{def, func(task Task[json.RawMessage]) error {
			add(task.Payload, task.Metadata)
			return checkVersion(core.WithHost(ctx, host), def, task)
		}}.decode(ctx, host, stored)
	}
	queuelink.Stored = func(item any) (core.StoredItem, error) { return item.(Item).stored() }
}

// checkVersion checks a task against the version of the schema that it was enqueued under.
func checkVersion(ctx context.Context, def *definition, task Task[json.RawMessage]) error {
	version := task.Metadata[MetadataSchemaVersion]
	if def.cfg.Validator == nil || version == "" {
		return nil
	}
	if _, err := def.cfg.Validator.Validate(ctx, def.name, version, task.Payload); err != nil {
		return fmt.Errorf("version %s of the queue's schema: %w", version, err)
	}
	return nil
}

func enqueueOptionsOf(options []any) []EnqueueOption {
	opts := make([]EnqueueOption, len(options))
	for i, o := range options {
		opts[i] = o.(EnqueueOption)
	}
	return opts
}

// newTestItem is newItem for a task that may have been stored before: it keeps the version of the schema that it names.
func newTestItem(def *definition, payload any, opts []EnqueueOption) Item {
	if applyEnqueue(opts).metadata[MetadataSchemaVersion] != "" {
		checked := *def
		checked.cfg.Validator = nil
		def = &checked
	}
	return newItem(def, payload, opts)
}

// around returns a worker like this one with a function around its attempts.
func (w *worker) around(attempt queuelink.Attempt) (core.Binding, error) {
	if w.batch != nil {
		return nil, fmt.Errorf("queue %q: a batch worker has no attempts of one task: %w", w.def.name, ErrInvalid)
	}
	with := *w
	with.opts.middleware = append([]Middleware{{Work: func(ctx context.Context, task *Incoming,
		next func(context.Context) error) error {
		return attempt(ctx, task.ID(), next)
	}}}, w.opts.middleware...)
	with.opts.concurrency = max(w.opts.concurrency, 2) // a delivery may go on while the task is delivered again
	return &with, nil
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
