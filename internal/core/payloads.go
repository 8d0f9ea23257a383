package core

import (
	"context"
	"errors"
	"fmt"
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

// PayloadSource is what every declaration has whose stored payloads can be decoded. Package outbox embeds it in its
// Payloads under an unexported name, as it does with Binder.
type PayloadSource interface {
	Payloads(Seal) PayloadDecoder
}

// Decodable is the PayloadSource that public types embed under an unexported name. The zero value decodes nothing.
type Decodable struct {
	decoder func() PayloadDecoder
}

// NewDecodable returns the Decodable that makes a decoder for each use.
func NewDecodable(decoder func() PayloadDecoder) Decodable { return Decodable{decoder} }

// Payloads implements PayloadSource; the zero decoder for the zero value.
func (d Decodable) Payloads(Seal) PayloadDecoder {
	if d.decoder == nil {
		return PayloadDecoder{}
	}
	return d.decoder()
}

// DecoderOf returns the decoder that s makes. Where s is nil or the zero value of its type, the decoder's Err says so.
func DecoderOf(s PayloadSource) PayloadDecoder {
	if s == nil {
		return PayloadDecoder{Err: errors.New("strunk: a declaration is nil")}
	}
	if !isNil(s) {
		if decoder := s.Payloads(Seal{}); decoder.Decode != nil {
			return decoder
		}
	}
	pkg, name := typeName(s)
	return PayloadDecoder{Err: fmt.Errorf("strunk: the zero %s is unusable: declare it with %s.Define", name, pkg)}
}
