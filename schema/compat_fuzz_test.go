package schema

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// strictKeepsItsWord is the promise of the strict check: what passes the old version passes the new one whenever we
// say that it is backward compatible, and the reverse for forward.
func strictKeepsItsWord(t *rapid.T) {
	old := randomDocument(t)
	next := changed(t, old)
	before, err := Compile(mustJSON(old))
	if err != nil {
		t.Skip(err)
	}
	after, err := Compile(mustJSON(next))
	if err != nil {
		t.Skip(err)
	}
	a, b := Revision{"1", mustJSON(old)}, Revision{"2", mustJSON(next)}
	if Check(a, b, Backward, Strict()) == nil {
		allPass(t, before, after)
	}
	if Check(a, b, Forward, Strict()) == nil {
		allPass(t, after, before)
	}
}

// allPass draws payloads: each that passes one schema must pass the other.
func allPass(t *rapid.T, written, reading *Schema) {
	for range 12 {
		payload := mustJSON(randomValue(t, 3))
		if written.Validate(payload) == nil && reading.Validate(payload) != nil {
			t.Fatalf("%s\npasses %s\nbut not %s\n%v", payload, written.Document(), reading.Document(),
				reading.Validate(payload))
		}
	}
	for _, payload := range fixedPayloads {
		if written.Validate(payload) == nil && reading.Validate(payload) != nil {
			t.Fatalf("%s\npasses %s\nbut not "+
				"%s\n%v", payload, written.Document(), reading.Document(), reading.Validate(payload))
		}
	}
}

// fixedPayloads has every small payload of the vocabulary.
var fixedPayloads = func() (payloads [][]byte) {
	var scalars []any
	for _, text := range []string{`null`, `true`, `false`, `-1`, `0`, `0.5`, `1`, `1.5`, `2`, `3`, `6`, `""`, `"a"`,
		`"b"`, `"ab"`, `"127.0.0.1"`} {
		value, _ := decodeOne([]byte(text))
		scalars = append(scalars, value)
	}
	all := append([]any{}, scalars...)
	all = append(all, []any{}, object{}, []any{[]any{}}, []any{object{}}, object{"a": object{}},
		object{"a": []any{}}, object{"a": object{"a": nil}})
	for i, v := range scalars {
		w := scalars[(i*5+3)%len(scalars)]
		all = append(all, []any{v}, []any{v, w}, []any{v, v}, object{"a": v}, object{"b": v}, object{"a": v, "b": w},
			object{"ab": v, "c": w})
	}
	for _, v := range all {
		payloads = append(payloads, mustJSON(v))
	}
	return payloads
}()

func TestStrictKeepsItsWord(t *testing.T) { rapid.Check(t, strictKeepsItsWord) }

func FuzzCompatible(f *testing.F) { drawFrom(f, strictKeepsItsWord) }

// reflexive: a schema is compatible with its copy, which the prover must find out, for the title makes them differ.
func reflexive(t *rapid.T) {
	document := randomDocument(t)
	if _, err := Compile(mustJSON(document)); err != nil {
		t.Skip(err)
	}
	old := Revision{"1", mustJSON(document)}
	document["title"] = "another"
	next := Revision{"2", mustJSON(document)}
	for _, options := range [][]CheckOption{nil, {Strict()}} {
		if err := Check(old, next, Full, options...); err != nil {
			t.Fatalf("%s: %v", old.Document, err)
		}
	}
}

func TestReflexive(t *testing.T) { rapid.Check(t, reflexive) }

// Whoever is compatible leniently is not made incompatible by widening; and full is backward and forward.
func TestModesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document := randomDocument(t)
		old, next := Revision{"1", mustJSON(document)}, Revision{"2", mustJSON(changed(t, document))}
		if Check(old, old, None) != nil || Check(next, next, None) != nil {
			t.Skip("does not compile")
		}
		backward, forward, full := Check(old, next, Backward), Check(old, next, Forward), Check(old, next, Full)
		if (full == nil) != (backward == nil && forward == nil) {
			t.Fatalf("%s\n%s\nbackward %v\nforward %v\nfull %v", old.Document, next.Document, backward, forward, full)
		}
		if again := Check(old, next, Full); fmt.Sprint(again) != fmt.Sprint(full) {
			t.Fatalf("two answers:\n%v\n%v", full, again)
		}
	})
}
