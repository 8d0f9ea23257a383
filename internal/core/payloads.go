package core

import (
	"context"
	"time"
)

// StoredPayload is what the outbox holds of a task, an event or a delivery that is to be decoded.
type StoredPayload struct {
	ID, Seq, Position, Version int64
	CreatedAt                  time.Time
	Attempts, MaxAttempts      int
	// Kind is the row's: "task", "event" or "delivery".
	Kind, Status, Key       string
	EntityID, SchemaVersion string
	// Payload is nil for a tombstone, Metadata where there is none.
	Payload, Metadata []byte
}

// PayloadDecoder decodes what is stored under a declaration as a consumer would.
type PayloadDecoder struct {
	// Tasks says that the declaration is a queue. Otherwise it is a stream of events.
	Tasks bool
	// Names are the names under which the rows are stored, previous ones included.
	Names []string
	// Err says what is wrong with the declaration, or is nil.
	Err error
	// Decode returns why a payload cannot be decoded, or nil.
	Decode func(ctx context.Context, host Host, stored StoredPayload) error
}
