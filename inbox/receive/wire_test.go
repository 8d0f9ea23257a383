package receive_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/testkit"
)

type sample struct {
	Why        string
	Event      map[string]json.RawMessage // what events/forward makes the sample of
	Headers    map[string]string
	Structured json.RawMessage
	Received   struct{ ID, Key string }
}

// What events/forward sends is read back, in both modes: the samples of testdata/wire.
func TestWireSamples(t *testing.T) {
	t.Parallel()
	for name, s := range testkit.Fixtures[sample](t, "wire") {
		binary := receive.NewMessage("place", "key", s.Headers, "ce-", s.Event["data"])
		s.check(t, name+" in binary mode", binary)
		structured := receive.NewMessage("place", "key",
			map[string]string{"content-type": "application/cloudevents+json; charset=UTF-8"}, "ce-", s.Structured)
		s.check(t, name+" in structured mode", structured)
		delete(structured.Attributes, "datacontenttype") // a header of its own in binary mode
		if !maps.Equal(binary.Attributes, structured.Attributes) {
			t.Errorf("%s: %v in binary, %v in structured mode", name, binary.Attributes, structured.Attributes)
		}
	}
}

func (s sample) check(t *testing.T, name string, m receive.Message) {
	t.Helper()
	if m.ID != s.Received.ID || m.Key != s.Received.Key {
		t.Errorf("%s: id %q and key %q, want %+v: %s", name, m.ID, m.Key, s.Received, s.Why)
	}
	var want, got bytes.Buffer
	if s.Event["data"] == nil {
		if len(m.Data) > 0 {
			t.Errorf("%s: data %s, want none", name, m.Data)
		}
		return
	}
	if json.Compact(&want, s.Event["data"]) != nil || json.Compact(&got, m.Data) != nil ||
		!bytes.Equal(want.Bytes(), got.Bytes()) {
		t.Errorf("%s: data %s, want %s", name, got.Bytes(), want.Bytes())
	}
	for attribute, field := range map[string]string{"source": "source", "type": "entityType", "subject": "entityID"} {
		var value string
		if err := json.Unmarshal(s.Event[field], &value); err != nil || m.Attributes[attribute] != value {
			t.Errorf("%s: %s is %q, want %q (%v)", name, attribute, m.Attributes[attribute], value, err)
		}
	}
}

// Content that a sender has written to base64 is received as it was before; what is none is received as it came.
func TestBase64(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{`"eyJhIjoxfQ=="`: `{"a":1}`, `"a b"`: `"a b"`, `7`: `7`, `null`: ``} {
		m := receive.NewMessage("place", "key", map[string]string{"content-type": "application/cloudevents+json"},
			"ce-", []byte(`{"specversion":"1.0","id":"1","source":"s","data_base64":`+field+`}`))
		if _, ok := m.Attributes["data_base64"]; ok || string(m.Data) != want || m.ID != "s 1" {
			t.Errorf("%s: %q with %v", field, m.Data, m.Attributes)
		}
	}
}
