package events

import (
	"context"
	"encoding/json"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// item is one event without its type, or (redeliver) the command to handle the deliveries of an entity.
type item struct {
	// order is the item's place among what its session delivers: the position, or the number of a
	// snapshot; 0 for deliveries.
	order                           int64
	position, version, id           int64
	deliveryID                      int64 // of a delivery: the row's id
	entityID, schemaVersion         string
	publishedAt                     time.Time
	payload, metadataJSON, diffJSON []byte
	attempt                         int
	fromSnapshot                    bool
	redeliver                       bool
	begun                           bool  // a handler has had it: see counted
	delivery                        *item // of a command to redeliver: the delivery in hand
	// of a delivery that is settled: whether its entity has another; nil: the epoch is over
	left *bool
}

// attemptKey is what the item's attempts are stored under.
func (it *item) attemptKey() attemptKey {
	if it.fromSnapshot {
		return attemptKey{entityID: it.entityID}
	}
	return attemptKey{position: it.position}
}

// work is what a subscriber does with its events: the one place where a stream's type is erased.
type work struct {
	// batch says that call may be given several items.
	batch bool
	// inTx says that call needs a transaction.
	inTx bool
	call func(ctx context.Context, tx *outbox.OwnedTx, items []*item) error
}

func typedWork[T any](def *definition, handler Handler[T]) work {
	if handler == nil {
		return work{}
	}
	return work{call: func(ctx context.Context, _ *outbox.OwnedTx, items []*item) error {
		event, err := typedEvent[T](def, items[0])
		if err != nil {
			return err
		}
		return handler(ctx, event)
	}}
}

func typedBatch[T any](def *definition, handler BatchHandler[T]) work {
	if handler == nil {
		return work{batch: true}
	}
	return work{batch: true, call: func(ctx context.Context, _ *outbox.OwnedTx, items []*item) error {
		batch := make([]Event[T], len(items))
		for i, it := range items {
			var err error
			if batch[i], err = typedEvent[T](def, it); err != nil {
				return err
			}
		}
		return handler(ctx, batch)
	}}
}

func typedTx[T any](def *definition, handler HandlerInTx[T]) work {
	if handler == nil {
		return work{batch: true, inTx: true}
	}
	return work{batch: true, inTx: true, call: func(ctx context.Context, tx *outbox.OwnedTx, items []*item) error {
		for _, it := range items {
			event, err := typedEvent[T](def, it)
			if err != nil {
				return err
			}
			if err := handler(ctx, tx, event); err != nil {
				return err
			}
		}
		return nil
	}}
}

func typedEvent[T any](def *definition, it *item) (Event[T], error) {
	e := Event[T]{Position: it.position, Version: it.version, ID: it.id, EntityType: def.entityType,
		EntityID: it.entityID,
		Deleted:  it.payload == nil, FromSnapshot: it.fromSnapshot, Redelivered: it.deliveryID != 0,
		SchemaVersion: it.schemaVersion,
		Diff:          json.RawMessage(it.diffJSON), PublishedAt: it.publishedAt, Attempt: it.attempt}
	if err := decode(it.payload, &e.State); err != nil {
		return e, err
	}
	return e, decode(it.metadataJSON, &e.Metadata)
}
