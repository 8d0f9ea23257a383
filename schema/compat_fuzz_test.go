package schema

import (
	"fmt"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// strictKeepsItsWord is the promise of the strict check: what passes the old version passes the new one whenever we
// say that it is backward compatible, and the reverse for forward. The referee is reference, which shares only
// formats and numbers with the check and the evaluator.
func strictKeepsItsWord(t *rapid.T) {
	old := randomDocument(t)
	next := changed(t, old)
	for _, document := range []object{old, next} {
		if _, err := Compile(mustJSON(document)); err != nil {
			t.Skip(err)
		}
	}
	pairs.Add(1)
	a, b := Revision{"1", mustJSON(old)}, Revision{"2", mustJSON(next)}
	if Check(a, b, Backward, Strict()) == nil {
		compatible.Add(1)
		allPass(t, old, next)
	}
	if Check(a, b, Forward, Strict()) == nil {
		compatible.Add(1)
		allPass(t, next, old)
	}
}

// pairs counts the pairs that strictKeepsItsWord has compared, compatible the directions in which they were, fitting
// the documents that passed the writing version there.
var pairs, compatible, fitting atomic.Int64

// allPass draws documents: each that passes one schema must pass the other.
func allPass(t *rapid.T, written, reading object) {
	for i := range 24 {
		value := randomValue(t, 3)
		if i%2 == 0 {
			value = fittingValue(t, written, written, 4)
		}
		mustPass(t, written, reading, value)
	}
	for _, value := range fixedValues {
		mustPass(t, written, reading, value)
	}
}

func mustPass(t *rapid.T, written, reading object, value any) {
	if !(reference{written}).valid(written, value) {
		return
	}
	fitting.Add(1)
	if !(reference{reading}).valid(reading, value) {
		t.Fatalf("%s\npasses %s\nbut not %s", mustJSON(value), mustJSON(written), mustJSON(reading))
	}
}

// fixedValues has every small value of the vocabulary.
var fixedValues = func() (all []any) {
	var scalars []any
	for _, text := range []string{`null`, `true`, `false`, `-1`, `0`, `0.5`, `1`, `1.5`, `2`, `3`, `6`, `""`, `"a"`,
		`"b"`, `"ab"`, `"127.0.0.1"`} {
		value, _ := decodeOne([]byte(text))
		scalars = append(scalars, value)
	}
	all = append(all, scalars...)
	all = append(all, []any{}, object{}, []any{[]any{}}, []any{object{}}, object{"a": object{}},
		object{"a": []any{}}, object{"a": object{"a": nil}})
	for i, v := range scalars {
		w := scalars[(i*5+3)%len(scalars)]
		all = append(all, []any{v}, []any{v, w}, []any{v, v}, object{"a": v}, object{"b": v}, object{"a": v, "b": w},
			object{"ab": v, "c": w})
	}
	return all
}()

// With -rapid.checks=100000 it compares as many pairs: see the target fuzz of the Makefile.
func TestStrictKeepsItsWord(t *testing.T) {
	rapid.Check(t, strictKeepsItsWord)
	t.Logf("%d pairs, compatible in %d directions, %d documents that fit", pairs.Load(), compatible.Load(),
		fitting.Load())
}

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
