package schema

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/strunk-go/strunk/internal/core"
)

// Validator checks what is published and enqueued against the registry; it stands in
// events.Config.Validator and queue.Config.Validator. The zero value uses the registry of the Box
// that the transaction belongs to, so that it fits a declaration that is made before there is a
// Box. The version is the one that the publish carries, else that of the declaration
// (Config.SchemaVersion), else the newest that is registered.
type Validator struct {
	// Subject is the name in the registry; empty means that of the entity type or the queue. Set it where a queue has
	// the name of an entity type, and after a rename.
	Subject string

	registry *Registry
}

// Validator returns a validator that uses this registry whatever the transaction's Box.
func (r *Registry) Validator() Validator { return Validator{registry: r} }

// Validate is for events and queue to call; see [Registry.Validate].
func (v Validator) Validate(ctx context.Context, name, version string, payload json.RawMessage) (used string,
	err error) {
	registry := v.registry
	if registry == nil {
		host := core.HostOf(ctx)
		if host == nil {
			return "", &core.NotChecked{Err: errNoBox}
		}
		registry = registryOf(host)
	}
	return registry.Validate(ctx, cmp.Or(v.Subject, name), version, payload)
}
