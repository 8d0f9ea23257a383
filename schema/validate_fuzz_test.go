package schema

import (
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// validatesAsReference holds Validate against a second opinion, on schemas and payloads of every kind.
func validatesAsReference(t *rapid.T) {
	document := randomDocument(t)
	schema, err := Compile(mustJSON(document))
	if err != nil {
		t.Skip(err)
	}
	for range 8 {
		value := randomValue(t, 3)
		got := schema.Validate(mustJSON(value))
		if want := (reference{document}).valid(document, value); want != (got == nil) {
			t.Fatalf("%s\nagainst %s\nwant valid %v, got %v", mustJSON(value), mustJSON(document), want, got)
		}
	}
}

func TestValidatesAsReference(t *testing.T) { rapid.Check(t, validatesAsReference) }

func FuzzReference(f *testing.F) { drawFrom(f, validatesAsReference) }

// FuzzValidate feeds any bytes as a document and as a payload: no panic, and errors of the declared kinds only.
func FuzzValidate(f *testing.F) {
	for _, document := range []string{
		`{"properties":{"a":{"type":"integer"}},"required":["a"]}`, `{"$ref":"#"}`, `{"minimum":1e2000000}`,
		`{"items":{"$ref":"#"},"uniqueItems":true}`, `{"enum":[9007199254740993,1e400]}`,
		`{"patternProperties":{"(":{}}}`,
		`{"definitions":{"a/b":{"type":"string"}},"items":{"$ref":"#/definitions/a~1b"}}`, `true`,
		`{"$ref":"http://x/#"}`,
		`{"if":{"const":1},"then":{"multipleOf":0.1},"else":{"format":"date-time"}}`,
	} {
		for _, payload := range []string{`{"a":1}`, `1e2000000`, `[[[[]]]]`, `[9007199254740993,9007199254740992]`,
			`"\u0000"`, `-0`} {
			f.Add([]byte(document), []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, document, payload []byte) {
		schema, err := Compile(document)
		if err != nil {
			mustBe(t, err, ErrInvalidSchema)
			return
		}
		if err := schema.Validate(payload); err != nil {
			mustBe(t, err, ErrInvalidPayload)
		} else if !json.Valid(payload) {
			t.Fatalf("%q is no JSON and passes", payload)
		}
		if err := Check(Revision{"1", document}, Revision{"2", document}, FullTransitive, Strict()); err != nil {
			t.Fatalf("not compatible with itself: %v", err)
		}
	})
}

func mustBe(t *testing.T, err, sentinel error) {
	t.Helper()
	var schema *SchemaError
	var payload *ValidationError
	if !errors.Is(err, sentinel) || !errors.As(err, &schema) && !errors.As(err, &payload) {
		t.Fatalf("undeclared error: %v", err)
	}
}
