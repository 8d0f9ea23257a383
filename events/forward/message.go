package forward

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/strunk-go/strunk/events"
)

// ContentType and StructuredType are the media types of a state and of a whole event in structured mode.
const (
	ContentType    = "application/json"
	StructuredType = "application/cloudevents+json; charset=UTF-8"
)

// Message is an event as CloudEvents 1.0 has it.
type Message struct {
	// ID names the event: entity type, entity id, version, and the time of the publish in
	// microseconds to the base 36, each escaped as in a path, with slashes between. The same event
	// always has the same. The time is part of it because a database that was restored to an
	// earlier state gives a version again, to another event.
	ID string
	// Source names the publishing application.
	Source string
	// EntityType is the attribute type, and EntityID the attribute subject.
	EntityType, EntityID string
	// Version is the entity's version, and Position the event's place in the feed; 0 for a state from the snapshots.
	Version, Position int64
	// Time is when the event was published.
	Time time.Time
	// DataSchema is where the state's schema can be read, or empty.
	DataSchema string
	// TraceParent and TraceState are the W3C trace context that the event was published with, or empty.
	TraceParent, TraceState string
	// Metadata is the rest of the event's metadata. It travels as one extension that holds a JSON object.
	Metadata map[string]string
	// Data is the state's JSON; nil for a tombstone.
	Data json.RawMessage
}

// Attribute is one CloudEvents attribute as text.
type Attribute struct{ Name, Value string }

func (o options) message(e *events.Event[json.RawMessage]) *Message {
	m := &Message{
		ID:     messageID(e),
		Source: o.source, EntityType: e.EntityType, EntityID: e.EntityID, Version: e.Version, Position: e.Position,
		Time: e.PublishedAt,
	}
	if !e.Deleted {
		m.Data = e.State
	}
	if o.schemas != "" && e.SchemaVersion != "" {
		m.DataSchema = o.schemas + "/" + url.PathEscape(e.EntityType) + "/" + url.PathEscape(e.SchemaVersion)
	}
	for key, value := range e.Metadata {
		m.annotate(key, value)
	}
	return m
}

func messageID(e *events.Event[json.RawMessage]) string {
	return url.PathEscape(e.EntityType) + "/" + url.PathEscape(e.EntityID) + "/" + strconv.FormatInt(e.Version, 10) +
		"/" +
		strconv.FormatInt(e.PublishedAt.UnixMicro(), 36)
}

func (m *Message) annotate(key, value string) {
	switch key {
	case "traceparent":
		m.TraceParent = value
	case "tracestate":
		m.TraceState = value
	default:
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[key] = value
	}
}

// Deleted reports whether the message is a tombstone: its entity is gone.
func (m *Message) Deleted() bool { return m.Data == nil }

// Attributes lists the attributes, without those that are empty.
func (m *Message) Attributes() []Attribute {
	all := make([]Attribute, 0, 13)
	add := func(name, value string) {
		if value != "" {
			all = append(all, Attribute{name, value})
		}
	}
	add("specversion", "1.0")
	add("id", m.ID)
	add("source", m.Source)
	add("type", m.EntityType)
	add("subject", m.EntityID)
	add("time", m.Time.UTC().Format(time.RFC3339Nano))
	add("dataschema", m.DataSchema)
	add("version", strconv.FormatInt(m.Version, 10))
	if m.Position != 0 {
		add("position", strconv.FormatInt(m.Position, 10))
	}
	if m.Deleted() {
		add("deleted", "true")
	}
	add("traceparent", m.TraceParent)
	add("tracestate", m.TraceState)
	if len(m.Metadata) > 0 {
		doc, _ := json.Marshal(m.Metadata) // a map of strings can be encoded
		add("metadata", string(doc))
	}
	return all
}

// Structured returns the event in structured mode: one JSON document that holds attributes and state.
func (m *Message) Structured() []byte {
	doc := []byte{'{'}
	for _, a := range m.Attributes() {
		doc = append(doc, '"')
		doc = append(doc, a.Name...)
		doc = append(doc, '"', ':')
		value, _ := json.Marshal(a.Value) // a string can be encoded
		doc = append(append(doc, value...), ',')
	}
	doc = append(doc, `"datacontenttype":"`+ContentType+`"`...)
	if !m.Deleted() {
		doc = append(append(doc, `,"data":`...), m.Data...)
	}
	return append(doc, '}')
}

// EscapeHeader escapes an attribute's value for the header of HTTP or NATS, as the CloudEvents
// bindings ask for: what is not printable ASCII, the space, the double quote and the percent sign.
func EscapeHeader(value string) string {
	const hex = "0123456789ABCDEF"
	var escaped []byte
	for i := 0; i < len(value); i++ {
		c := value[i]
		plain := c > ' ' && c < 0x7f && c != '"' && c != '%'
		switch {
		case plain && escaped == nil:
		case plain:
			escaped = append(escaped, c)
		default:
			if escaped == nil {
				escaped = append(make([]byte, 0, len(value)+8), value[:i]...)
			}
			escaped = append(escaped, '%', hex[c>>4], hex[c&15])
		}
	}
	if escaped == nil {
		return value
	}
	return string(escaped)
}
