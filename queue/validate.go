package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// MetadataSchemaVersion is the key of a task's Metadata under which stands the version that its payload was checked
// against, for handlers that know several.
const MetadataSchemaVersion = "schema_version"

// Validator checks payloads; package schema has one: schema.Validator. It is called by several goroutines.
type Validator interface {
	// Validate returns why a payload cannot be enqueued under a version of the queue's schema (empty: the newest), and
	// otherwise the version that it was checked against, which is kept with the task.
	Validate(ctx context.Context, queue, version string, payload json.RawMessage) (used string, err error)
}

// validates reports whether there is anything to ask of a validator: what else is wrong with an item is told later.
func (i *Item) validates() bool {
	return i.def != nil && i.def.err == nil && i.err == nil && i.def.cfg.Validator != nil
}

// askValidators asks the queues' validators, and notes the versions in copies of the items.
func askValidators(ctx context.Context, tx outbox.Tx, what string, items []Item) ([]Item, error) {
	if !slices.ContainsFunc(items, func(i Item) bool { return i.validates() }) {
		return items, nil
	}
	t, err := usable(ctx, tx, what)
	if err != nil {
		return nil, err
	}
	ctx = core.WithHost(ctx, t.Host())
	checked := slices.Clone(items)
	var problems []error
	for i := range checked {
		if err := checked[i].validate(ctx); err != nil {
			problems = append(problems, itemError(what, i, len(items), checked[i], err))
		}
	}
	return checked, errors.Join(problems...)
}

func (i *Item) validate(ctx context.Context) error {
	if !i.validates() {
		return nil
	}
	used, err := i.def.cfg.Validator.Validate(ctx, i.def.name, i.def.cfg.SchemaVersion, i.doc)
	var unchecked *core.NotChecked
	if err != nil && !errors.As(err, &unchecked) {
		err = fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if err != nil || used == "" {
		return err
	}
	metadata := maps.Clone(i.opts.metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[MetadataSchemaVersion] = used
	i.opts.metadata = metadata
	return nil
}
