package forward_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/internal/testkit"
)

// An event becomes the headers and the document of testdata/wire, byte by byte.
func TestWireSamples(t *testing.T) {
	t.Parallel()
	type sample struct {
		Why        string
		Event      forward.Message
		Headers    map[string]string
		Structured json.RawMessage
		Received   json.RawMessage // what inbox/receive makes of it
	}
	for name, s := range testkit.Fixtures[sample](t, "wire") {
		if compact := new(bytes.Buffer); s.Event.Data != nil && json.Compact(compact, s.Event.Data) == nil {
			s.Event.Data = compact.Bytes()
		}
		headers := map[string]string{}
		for _, a := range s.Event.Attributes() {
			headers["ce-"+a.Name] = forward.EscapeHeader(a.Value)
		}
		if !maps.Equal(headers, s.Headers) {
			t.Errorf("%s: headers %v, want %v: %s", name, headers, s.Headers, s.Why)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, s.Structured); err != nil {
			t.Fatal(err)
		}
		if got := s.Event.Structured(); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s:\n%s, want\n%s: %s", name, got, want.Bytes(), s.Why)
		}
	}
}
