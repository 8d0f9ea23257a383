package schema

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The classes of changes that were once refused although no document breaks: each draws two versions of a schema over
// small sets of values, half of the time with a change that may break something.
var refusalClasses = map[string]func(*rapid.T) (old, next object){
	"type beside an enum in a union": func(t *rapid.T) (object, object) {
		union := pick(t, []string{"oneOf", "anyOf"})
		return object{union: []any{object{"enum": someEnum(t)}, object{"type": "null"}}},
			object{union: []any{object{"type": "string", "enum": someEnum(t)}, object{"type": "null"}}}
	},
	"allOf as keywords": func(t *rapid.T) (object, object) {
		return object{"allOf": []any{object{"enum": someEnum(t)}}}, object{"type": "string", "enum": someEnum(t)}
	},
	"reference and null as types": func(t *rapid.T) (object, object) {
		old := object{"definitions": object{"n": object{"enum": someEnum(t)}},
			"anyOf": []any{object{"$ref": "#/definitions/n"}, object{"type": "null"}}}
		next := object{"type": []any{"string", "null"}}
		if chance(t, 2) {
			next["enum"] = append(someEnum(t), nil)
		}
		return old, next
	},
	"multipleOf as integer": func(t *rapid.T) (object, object) {
		steps := []string{"0.5", "1", "1.5", "2", "3"}
		old := object{"type": "number", "multipleOf": json.Number(pick(t, steps))}
		next := object{"type": "integer"}
		if chance(t, 2) {
			next["multipleOf"] = json.Number(pick(t, steps))
		}
		return old, next
	},
	"array as a closed tuple": func(t *rapid.T) (object, object) {
		n, m := rapid.IntRange(0, 3).Draw(t, "n"), rapid.IntRange(0, 3).Draw(t, "m")
		tuple := []any{}
		for range max(m, 1) {
			tuple = append(tuple, object{"type": pick(t, []string{"string", "string", "number"})})
		}
		old := object{"type": "array", "items": object{"type": "string"}, "minItems": json.Number(fmt.Sprint(n)),
			"maxItems": json.Number(fmt.Sprint(n))}
		return old, object{"type": "array", "items": tuple, "additionalItems": false,
			"minItems": json.Number(fmt.Sprint(min(m, rapid.IntRange(0, 3).Draw(t, "least"))))}
	},
	"union told apart by a constant": func(t *rapid.T) (object, object) {
		return someUnion(t), someUnion(t)
	},
}

func someEnum(t *rapid.T) []any {
	all := []any{"a", "b", "ab"}
	return all[:rapid.IntRange(1, 3).Draw(t, "values")]
}

// someUnion has up to three variants, of which each has the property b or not, closed or not.
func someUnion(t *rapid.T) object {
	var variants []any
	for _, kind := range []string{"a", "b", "ab"}[:rapid.IntRange(1, 3).Draw(t, "variants")] {
		properties := object{"a": object{"const": kind}}
		if chance(t, 2) {
			properties["b"] = object{"type": pick(t, []string{"string", "number", "integer"})}
		}
		variant := object{"type": "object", "properties": properties, "required": []any{"a"}}
		if chance(t, 3) {
			variant["additionalProperties"] = false
		}
		variants = append(variants, variant)
	}
	return object{"oneOf": variants}
}

// smallModel has every value of the classes above up to the size where two of their schemas differ, if they do.
var smallModel = func() (all []any) {
	scalars := []any{nil, true, false, "", "a", "b", "ab", "abc"}
	for _, n := range []string{"-1", "0", "0.5", "1", "1.5", "2", "2.5", "3", "4", "4.5", "6", "7.5", "9"} {
		scalars = append(scalars, json.Number(n))
	}
	all = append(all, scalars...)
	all = append(all, []any{}, object{})
	for _, v := range scalars {
		all = append(all, []any{v}, object{"a": v}, object{"b": v}, object{"c": v})
	}
	few := []any{nil, "", "a", "b", "ab", json.Number("0.5"), json.Number("1")}
	for _, v := range few {
		for _, w := range few {
			all = append(all, []any{v, w}, object{"a": v, "b": w}, object{"a": v, "c": w})
			for _, x := range []any{"a", json.Number("1")} {
				all = append(all, []any{v, w, x}, object{"a": v, "b": w, "c": x})
			}
		}
	}
	return append(all, []any{"a", "a", "a", "a"})
}()

// refusesForAReason: a pair of these classes that is refused in the strict backward mode has a counter-example in
// the small model, by the referee.
func refusesForAReason(t *rapid.T, draw func(*rapid.T) (object, object)) (refused bool) {
	old, next := draw(t)
	err := Check(Revision{"1", mustJSON(old)}, Revision{"2", mustJSON(next)}, Backward, Strict())
	example, found := counterExample(old, next)
	switch {
	case err == nil && found:
		t.Fatalf("%s\nto %s\npasses, but %s shows that it must not", mustJSON(old), mustJSON(next), mustJSON(example))
	case err != nil && !found:
		t.Fatalf("%s\nto %s\nis refused, and no document shows why: %v", mustJSON(old), mustJSON(next), err)
	}
	return err != nil
}

func counterExample(old, next object) (value any, found bool) {
	for _, value := range smallModel {
		if (reference{old}).valid(old, value) && !(reference{next}).valid(next, value) {
			return value, true
		}
	}
	return nil, false
}

// With -rapid.checks=100000 it compares as many pairs of each class: see the target fuzz of the Makefile.
func TestRefusalsHaveAReason(t *testing.T) {
	for _, name := range sortedKeys(refusalClasses) {
		t.Run(name, func(t *testing.T) {
			pairs, refused := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				pairs++
				if refusesForAReason(t, refusalClasses[name]) {
					refused++
				}
			})
			t.Logf("%d pairs, %d refused", pairs, refused)
			if refused == 0 || refused == pairs {
				t.Error("the class draws only one kind of pair")
			}
		})
	}
}
