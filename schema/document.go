package schema

import (
	"bytes"
	"encoding/json"
)

// Document is a JSON Schema document, as text. It can be passed wherever a []byte is asked for.
type Document []byte

// String returns the document indented for reading; text that is not JSON comes back unchanged.
func (d Document) String() string {
	var out bytes.Buffer
	if json.Indent(&out, d, "", "  ") != nil {
		return string(d)
	}
	return out.String()
}

// MarshalJSON writes the document as it is; an empty one is null.
func (d Document) MarshalJSON() ([]byte, error) {
	return json.RawMessage(d).MarshalJSON()
}

// UnmarshalJSON keeps a copy of the text.
func (d *Document) UnmarshalJSON(text []byte) error {
	return (*json.RawMessage)(d).UnmarshalJSON(text)
}

// Equal reports whether two documents are the same JSON value: the order of keys, white space and the spelling of
// numbers (1, 1.0, 1e0) don't matter. Documents that can't be read are equal only byte by byte.
func (d Document) Equal(other []byte) bool {
	a, errA := decode(d, DefaultMaxBytes, MaxDepth)
	b, errB := decode(other, DefaultMaxBytes, MaxDepth)
	if errA != nil || errB != nil {
		return bytes.Equal(d, other)
	}
	return canonical(a) == canonical(b)
}
