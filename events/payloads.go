package events

import (
	"context"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Decoding is the stream for [outbox.CheckPayloads] with one more step: read is called with each event that was decoded
// into T, and returns why its state cannot be read, or nil. It does what a subscriber's handler does first, such as an
// upcast of an older version, and must have no effects. Of the event it is given all fields but Diff, FromSnapshot and
// Attempt.
func (s *Stream[T]) Decoding(read func(Event[T]) error) outbox.Payloads {
	return payloads[T]{s.definition(), read}
}

// payloads decodes stored events and deliveries.
type payloads[T any] struct {
	def  *definition
	read func(Event[T]) error
}

// Payloads implements outbox.Payloads.
func (p payloads[T]) Payloads(core.Seal) core.PayloadDecoder { return p.decoder() }

func (p payloads[T]) decoder() core.PayloadDecoder {
	return core.PayloadDecoder{Names: p.def.names(), Err: p.def.err, Decode: p.decode}
}

func (p payloads[T]) decode(_ context.Context, _ core.Host, stored core.StoredPayload) error {
	it := &item{position: stored.Position, version: stored.Version, id: stored.ID, entityID: stored.EntityID,
		schemaVersion: stored.SchemaVersion, publishedAt: stored.CreatedAt, payload: stored.Payload,
		metadataJSON: stored.Metadata}
	if stored.Kind == "delivery" {
		it.deliveryID = stored.ID
	}
	event, err := typedEvent[T](p.def, it)
	if err != nil || p.read == nil {
		return err
	}
	return p.read(event)
}
