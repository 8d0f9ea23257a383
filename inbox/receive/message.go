package receive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/strunk-go/strunk/internal/core"
)

// Message is one message: plain, or a CloudEvents 1.0 event.
type Message struct {
	// ID is what the message is recognised by when it is delivered again: of an event its source
	// and id, otherwise its place in the stream.
	ID string
	// Key is what it is about: the subject of an event, or the key of a record.
	Key string
	// Attributes are those of an event, without prefix; nil for a plain message. The task has them
	// in its metadata, each as "ce-" and the name.
	Attributes map[string]string
	// Data is the content. Content that is no JSON is stored as a JSON string; nothing, which is a tombstone, as null.
	Data []byte
}

// NewMessage makes a message of headers and content. place is where it stands in its stream. The
// headers of an event in binary mode have a prefix: "ce-" (NATS, HTTP), whose values are escaped,
// or "ce_" (Kafka). The names of headers are in lower case.
func NewMessage(place, key string, headers map[string]string, prefix string, body []byte) Message {
	m := Message{ID: place, Key: key, Data: body}
	switch {
	case strings.HasPrefix(headers["content-type"], "application/cloudevents+json"):
		m.structured(body)
	case headers[prefix+"specversion"] != "":
		m.Attributes = map[string]string{}
		for name, value := range headers {
			if attribute, ok := strings.CutPrefix(name, prefix); ok {
				m.Attributes[attribute] = unescape(prefix, value)
			}
		}
	}
	if id := m.Attributes["id"]; id != "" {
		m.ID = m.Attributes["source"] + " " + id
	}
	if subject := m.Attributes["subject"]; subject != "" {
		m.Key = subject
	}
	return m
}

// unescape undoes the escapes of the bindings that have them.
func unescape(prefix, value string) string {
	if prefix != "ce-" {
		return value
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// structured reads an event that is one JSON document. What cannot be read stays as it is.
func (m *Message) structured(body []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return
	}
	m.Attributes, m.Data = map[string]string{}, nil
	for name, value := range fields {
		var text string
		switch {
		case name == "data":
			m.Data = value
		case name == "data_base64":
			if json.Unmarshal(value, &m.Data) != nil { // which decodes base64
				m.Data = value
			}
		case json.Unmarshal(value, &text) == nil:
			m.Attributes[name] = text
		default: // a number or a truth value
			m.Attributes[name] = string(value)
		}
	}
}

// payload is the content as JSON.
func (m Message) payload() json.RawMessage {
	switch {
	case len(bytes.TrimSpace(m.Data)) == 0:
		return json.RawMessage("null")
	case json.Valid(m.Data):
		return m.Data
	case utf8.Valid(m.Data):
		doc, _ := json.Marshal(strings.ReplaceAll(string(m.Data), "\x00", "\uFFFD")) // text can be encoded
		return doc
	}
	doc, _ := json.Marshal(m.Data) // as base64
	return doc
}

func (m Message) metadata() map[string]string {
	all := map[string]string{"message": m.ID}
	if m.Key != "" {
		all["key"] = m.Key
	}
	for name, value := range m.Attributes {
		all["ce-"+name] = value
		if name == "traceparent" || name == "tracestate" {
			all[name] = value // where the telemetry of queues reads it
		}
	}
	maps.DeleteFunc(all, func(_, value string) bool { return core.CheckText(value) != nil })
	return all
}

// markID is the id as an inbox mark can hold it.
func (m Message) markID() string {
	if core.CheckKey(m.ID) == nil {
		return m.ID
	}
	sum := sha256.Sum256([]byte(m.ID))
	return "sha256:" + hex.EncodeToString(sum[:])
}
