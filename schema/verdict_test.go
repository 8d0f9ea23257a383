package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// node is a recursive union; %s is where its image keeps its width.
const recursiveUnion = `{"$ref":"#/definitions/Node","definitions":{"Node":{"oneOf":[
	{"type":"array","items":{"$ref":"#/definitions/Node"}},
	{"type":"object","required":["kind"],"properties":{"kind":{"const":"text"},"text":{"type":"string"}}},
	%s]}}}`

func withImage(image string) string { return fmt.Sprintf(recursiveUnion, image) }

// The reporter finds no words for some of these; the answer is no all the same.
func TestVerdictIsTheProvers(t *testing.T) {
	old := withImage(`{"type":"object","required":["kind"],"properties":{"kind":{"const":"image"},
		"width":{"type":"integer"}}}`)
	for _, c := range []struct {
		name, old, new string
		mode           Mode
		options        []CheckOption
	}{
		{"width becomes text", old, withImage(`{"type":"object","required":["kind"],
			"properties":{"kind":{"const":"image"},"width":{"type":"string"}}}`), Backward, nil},
		{"width becomes text, forward", old,
			withImage(`{"type":"object","required":["kind"],"properties":{"kind":{"const":"image"},
				"width":{"type":"string"}}}`), Forward, nil},
		{"width becomes required", old,
			withImage(`{"type":"object","required":["kind","width"],"properties":{"kind":{"const":"image"},
				"width":{"type":"integer"}}}`), Backward, nil},
		{"kind is renamed", old, withImage(`{"type":"object","required":["kind"],
			"properties":{"kind":{"const":"picture"},"width":{"type":"integer"}}}`), Backward, nil},
		{"true fits two", `{}`, `{"oneOf":[{"items":[{"$ref":"#"}]},{"type":"boolean"}]}`, Backward, nil},
		{"patterns within patterns", `{}`,
			`{"patternProperties":{"^a":{"patternProperties":{".*":{"$ref":"#"}}},"b$":{"const":5}}}`, Backward,
			nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, options := range [][]CheckOption{c.options, {Strict()}} {
				err := Check(Revision{"1.0", []byte(c.old)}, Revision{"1.1", []byte(c.new)}, c.mode, options...)
				var incompatible *CompatibilityError
				if !errors.As(err, &incompatible) {
					t.Fatalf("got %v", err)
				}
				complete(t, incompatible)
				examplesHold(t, c.old, c.new, incompatible)
			}
		})
	}
}

// examplesHold: an example is what it is said to be.
func examplesHold(t *testing.T, old, next string, err *CompatibilityError) {
	t.Helper()
	before, _ := Compile([]byte(old))
	after, _ := Compile([]byte(next))
	for _, p := range err.Problems {
		if p.Example == "" {
			continue
		}
		a, b := before.Validate([]byte(p.Example)), after.Validate([]byte(p.Example))
		if (a == nil) == (b == nil) {
			t.Errorf("the example %s shows nothing: %v, %v", p.Example, a, b)
		}
	}
}

// The reporter is silenced: the verdict stays, with the smallest example.
func TestVerdictWithoutWords(t *testing.T) {
	r := &reporter{old: "1", new: "2", backward: true, reported: map[string]bool{}}
	a, _ := parse([]byte(`{"type":"object","properties":{"n":{"type":"integer","maximum":7}},"required":["n"]}`))
	b, _ := parse([]byte(`{"type":"object","properties":{"n":{"type":"integer","maximum":6}},"required":["n"]}`))
	r.addUnexplained(a.root(), b.root())
	if len(r.problems) != 1 || r.problems[0].Example != `{"n":7}` {
		t.Errorf("got %+v", r.problems)
	}
}

func TestNoFalseRefusals(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"type beside the enum of a " +
			"union", `{"oneOf":[{"enum":["a","b"]},{"type":"null"}]}`,
			`{"oneOf":[{"type":"string","enum":["a","b"]},{"type":"null"}]}`},
		{"type beside an enum in allOf", `{"allOf":[{"enum":["a"]}]}`, `{"type":"string","enum":["a"]}`},
		{"reference and null as " +
			"types", `{"definitions":{"e":{"enum":["a","b"]}},"anyOf":[{"$ref":"#/definitions/e"},{"type":"null"}]}`,
			`{"type":["string","null"],"enum":["a","b",null]}`},
		{"reference and null as wider " +
			"types", `{"definitions":{"e":{"enum":["a","b"]}},"anyOf":[{"$ref":"#/definitions/e"},{"type":"null"}]}`,
			`{"type":["string","null"]}`},
		{"multipleOf 1 as integer", `{"type":"number","multipleOf":1}`, `{"type":"integer"}`},
		{"two strings as a tuple", `{"type":"array","items":{"type":"string"},"minItems":2,"maxItems":2}`,
			`{"type":"array","items":[{"type":"string"},{"type":"string"}],"additionalItems":false,"minItems":2}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Check(Revision{"1.0", []byte(c.old)}, Revision{"1.1", []byte(c.new)}, Backward,
				Strict()); err != nil {
				t.Error(err)
			}
			if err := Check(Revision{"1.0", []byte(c.old)}, Revision{"1.1", []byte(c.new)}, Backward); err != nil {
				t.Error(err)
			}
		})
	}
}

// unionOfKinds is a union of n objects told apart by kind; extra adds properties to variant i.
func unionOfKinds(n int, extra func(i int) object) []byte {
	var variants []any
	for i := range n {
		properties := object{"kind": object{"const": fmt.Sprint("k", i)}, "id": object{"type": "integer"},
			"note": object{"type": "string"}}
		for key, value := range extra(i) {
			properties[key] = value
		}
		variants = append(variants, object{"type": "object", "properties": properties, "required": []any{"kind", "id"}})
	}
	return mustJSON(object{"oneOf": variants})
}

func noExtra(int) object { return nil }

func TestDiscriminatedUnions(t *testing.T) {
	same := Revision{"1.0", unionOfKinds(20, noExtra)}
	t.Run("an optional field in each of 20", func(t *testing.T) {
		grown := unionOfKinds(20, func(int) object { return object{"added": object{"type": "string"}} })
		if err := Check(same, Revision{"1.1", grown}, Full); err != nil {
			t.Error(err)
		}
	})
	t.Run("a 51st variant", func(t *testing.T) {
		for _, options := range [][]CheckOption{nil, {Strict()}} {
			if err := Check(Revision{"1.0", unionOfKinds(50, noExtra)}, Revision{"1.1", unionOfKinds(51, noExtra)},
				Backward, options...); err != nil {
				t.Error(err)
			}
		}
		if err := Check(Revision{"1.0", unionOfKinds(51, noExtra)}, Revision{"1.1", unionOfKinds(50, noExtra)},
			Backward); err == nil {
			t.Error("a variant is gone, and nobody says so")
		}
	})
	t.Run("the variant and the keyword are named", func(t *testing.T) {
		narrowed := unionOfKinds(20, func(i int) object {
			if i == 7 {
				return object{"note": object{"type": "string", "maxLength": 5}}
			}
			return nil
		})
		err := Check(same, Revision{"1.1", narrowed}, Backward)
		if err == nil || !strings.Contains(err.Error(), "/oneOf/7/properties/note maxLength") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("required stays required in a variant", func(t *testing.T) {
		var document object
		_ = json.Unmarshal(same.Document, &document)
		document["oneOf"].([]any)[3].(object)["required"] = []any{"kind"}
		err := Check(same, Revision{"1.1", mustJSON(document)}, Backward)
		if err == nil || !strings.Contains(err.Error(), "/oneOf/3 required") {
			t.Errorf("got %v", err)
		}
	})
}

func TestMeaningNotText(t *testing.T) {
	document := `{"title":"Order","definitions":{"Line":{"type":"object",
		"properties":{"next":{"$ref":"#/definitions/Line"},"n":{"type":"number","maximum":10}}}},
		"type":"object","required":["a","b"],"properties":{"line":{"$ref":"#/definitions/Line"}}}`
	for name, other := range map[string]string{
		"a title":                   strings.Replace(document, `"Order"`, `"Purchase"`, 1),
		"a renamed definition":      strings.ReplaceAll(document, "Line", "Position"),
		"another order of required": strings.Replace(document, `"a","b"`, `"b","a"`, 1), "another spelling of a " +
			"number": strings.Replace(document, `10}`, `1e1}`, 1),
		"an unused definition": strings.Replace(document, `"definitions":{`,
			`"definitions":{"Spare":{"type":"null"},`, 1),
	} {
		if err := Check(Revision{"1.0", []byte(document)}, Revision{"1.0", []byte(other)}, Full, Strict()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, other := range map[string]string{
		"a bound below": strings.Replace(document, `10}`, `11}`, 1),
		"a property":    strings.Replace(document, `"line"`, `"lines"`, 1),
		"a pattern":     strings.Replace(document, `"maximum"`, `"minimum"`, 1),
		"required":      strings.Replace(document, `"a","b"`, `"a"`, 1),
	} {
		if err := Check(Revision{"1.0", []byte(document)}, Revision{"1.0", []byte(other)}, Full); !errors.Is(err,
			ErrInvalidVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever writes additionalProperties: true promises openness.
func TestExplicitlyOpenObjects(t *testing.T) {
	next := Revision{"1.1", []byte(`{"type":"object","properties":{"a":{"type":"string"}}}`)}
	if err := Check(Revision{"1.0", []byte(`{"type":"object"}`)}, next, Backward); err != nil {
		t.Error(err)
	}
	if err := Check(Revision{"1.0", []byte(`{"type":"object","additionalProperties":true}`)}, next,
		Backward); err == nil {
		t.Error("a promise is broken, and nobody says so")
	}
	patterns := Revision{"1.1", []byte(`{"type":"object","patternProperties":{"^a":{"type":"string"}}}`)}
	if err := Check(Revision{"1.0", []byte(`{"type":"object"}`)}, patterns, Backward); err != nil {
		t.Error(err)
	}
	if err := Check(Revision{"1.0", []byte(`{"type":"object","additionalProperties":true}`)}, patterns,
		Backward); err == nil {
		t.Error("a promise is broken by a pattern, and nobody says so")
	}
}
