package schema

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is refused, with the keyword that is named and its place.
func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct{ name, document, path, keyword, why string }{
		{"prefixItems", `{"items":{"prefixItems":[]}}`, "/items", "prefixItems", "items"},
		{"dependentRequired", `{"dependentRequired":{}}`, "", "dependentRequired", "dependencies"},
		{"dependentSchemas", `{"dependentSchemas":{}}`, "", "dependentSchemas", "dependencies"},
		{"unevaluatedProperties", `{"properties":{"a/b":{"unevaluatedProperties":false}}}`, "/properties/a~1b",
			"unevaluatedProperties", "additionalProperties"},
		{"unevaluatedItems", `{"unevaluatedItems":false}`, "", "unevaluatedItems", "additionalItems"},
		{"minContains", `{"contains":{},"minContains":2}`, "", "minContains", "contains"},
		{"maxContains", `{"contains":{},"maxContains":2}`, "", "maxContains", "contains"},
		{"$defs", `{"$defs":{"a":{}}}`, "", "$defs", "definitions"},
		{"$dynamicRef", `{"$dynamicRef":"#a"}`, "", "$dynamicRef", "$ref"},
		{"$anchor", `{"$anchor":"a"}`, "", "$anchor", "definitions"},
		{"id of draft 4", `{"id":"a"}`, "", "id", "$id"},
		{"inner $id", `{"definitions":{"a":{"$id":"x"}}}`, "/definitions/a", "$id", "root"},
		{"nullable of OpenAPI", `{"nullable":true}`, "", "nullable", `"null"`},
		{"misspelt", `{"minlength":1}`, "", "minlength", "spelling"},
		{"sibling of $ref", `{"definitions":{"a":{}},"items":{"$ref":"#/definitions/a","maximum":1}}`, "/items",
			"maximum", "allOf"},
		{"exclusiveMinimum of draft 4", `{"minimum":1,"exclusiveMinimum":true}`, "", "exclusiveMinimum", "bound"},
		{"then without if", `{"then":{}}`, "", "then", "if"},
		{"additionalItems without items", `{"additionalItems":false}`, "", "additionalItems", "items"},
		{"additionalItems beside one schema", `{"items":{},"additionalItems":false}`, "", "additionalItems", "remove"},
		{"unknown format", `{"format":"phone"}`, "", "format", "date-time"},
		{"unknown type", `{"type":"float"}`, "", "type", "number"},
		{"empty type", `{"type":[]}`, "", "type", "empty"},
		{"empty enum", `{"enum":[]}`, "", "enum", "at least one"},
		{"empty allOf", `{"allOf":[]}`, "", "allOf", "at least one"},
		{"look-ahead", `{"pattern":"^(?=a)"}`, "", "pattern", "look-ahead"},
		{"pattern of names", `{"patternProperties":{"(":{}}}`, "", "patternProperties", "RE2"},
		{"negative count", `{"minItems":-1}`, "", "minItems", "whole"},
		{"fractional count", `{"maxLength":1.5}`, "", "maxLength", "whole"},
		{"huge count", `{"maxLength":1e300}`, "", "maxLength", "whole"},
		{"multipleOf zero", `{"multipleOf":0}`, "", "multipleOf", "above 0"},
		{"bound as text", `{"minimum":"1"}`, "", "minimum", "number"},
		{"impossible length", `{"minLength":2,"maxLength":1}`, "", "minLength", "nothing fits"},
		{"other draft", `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`, "", "$schema", "draft-07"},
		{"no schema", `[]`, "", "", "object, true or false"},
		{"no JSON", `{`, "", "", "no JSON"},
		{"more than JSON", `{} {}`, "", "", "after"},
		{"not UTF-8", "{\"title\":\"\xff\"}", "", "", "UTF-8"},
		{"key twice", `{"type":"string","type":"integer"}`, "", "", "twice"},
		{"reference to nothing", `{"items":{"$ref":"#/definitions/a"}}`, "/items", "$ref", "no schema"},
		{"remote reference", `{"items":{"$ref":"https://example.com/a"}}`, "/items", "$ref", "ever fetched"},
		{"required as boolean", `{"properties":{"a":{"required":true}}}`, "/properties/a", "required", "list"},
		{"properties as list", `{"properties":[]}`, "", "properties", "object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile([]byte(c.document))
			var invalid *SchemaError
			if !errors.As(err, &invalid) || !errors.Is(err, ErrInvalidSchema) {
				t.Fatalf("got %v", err)
			}
			named := slices.ContainsFunc(invalid.Problems, func(p SchemaProblem) bool {
				return p.Path == c.path && p.Keyword == c.keyword && strings.Contains(p.Why, c.why)
			})
			if !named {
				t.Errorf("want %q %q with %q, got %v", c.path, c.keyword, c.why, err)
			}
		})
	}
}

func TestCompileRefusesAllAtOnce(t *testing.T) {
	_, err := Compile([]byte(`{"prefixItems":[],"format":"x","properties":{"a":{"type":"y"}}}`))
	var invalid *SchemaError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 3 {
		t.Errorf("want three problems, got %v", err)
	}
}

func TestCompileAccepts(t *testing.T) {
	for name, document := range map[string]string{
		"notes": `{"$schema":"http://json-schema.org/draft-07/schema#","$id":"https://example.com/order",
			"$comment":"c","title":"t","description":"d",
			"default":1,"examples":[1],"readOnly":true,"writeOnly":false,"deprecated":true,"contentEncoding":"base64",
				"contentMediaType":"a/b","x-owner":"me"}`,
		"notes beside $ref": `{"definitions":{"a":{}},"items":{"$ref":"#/definitions/a","description":"d"}}`,
		"$schema without #": `{"$schema":"https://json-schema.org/draft-07/schema"}`,
		"escaped references": `{"definitions":{"a/b %":{"type":"string"}},
			"items":{"$ref":"#/definitions/a~1b%20%25"}}`,
		"property called $ref": `{"properties":{"$ref":{"type":"string"},"$id":{"type":"integer"},"enum":{}},
			"required":["$ref"]}`,
		"definition called $ref": `{"definitions":{"$ref":{"type":"string"}},"items":{"$ref":"#/definitions/$ref"}}`,
		"enum with $ref in it":   `{"enum":[{"$ref":"http://example.com"}]}`,
		"count as 2.0":           `{"maxLength":2.0,"minItems":1e1}`,
	} {
		if _, err := Compile([]byte(document)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a payload breaks, in our words, without its values.
func TestViolations(t *testing.T) {
	schema, err := Compile([]byte(`{
		"definitions": {"money": {"type": "number", "multipleOf": 0.01, "exclusiveMinimum": 0}},
		"type": "object", "required": ["id", "who"], "additionalProperties": false,
		"properties": {
			"id": {"type": "integer", "minimum": 9007199254740993}, "total": {"$ref": "#/definitions/money"},
			"status": {"enum": ["open", 1]}, "kind": {"const": 2}, "at": {"format": "date-time"},
			"tags": {"items": {"type": "string", "maxLength": 3, "pattern": "^a"}, "uniqueItems": true, "maxItems": 2},
			"a/b": {"anyOf": [{"type": "null"}, {"type": "integer", "maximum": 3}]},
			"if": {"if": {"type": "integer"}, "then": {"maximum": 1}, "else": {"not": {"type": "null"}}}
		}}`))
	if err != nil {
		t.Fatal(err)
	}
	err = schema.Validate([]byte(`{"id":9007199254740992,"total":-0.001,"status":"secret","kind":2.5,"at":"10:00:00",
		"tags":["abcd","b","b"],"a/b":4,"if":5,"password":"secret"}`))
	var invalid *ValidationError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var got []string
	for _, v := range invalid.Violations {
		got = append(got, v.String())
	}
	want := []string{
		`(root) required: lacks the property "who"`,
		`/at format: must be a valid date-time`,
		`/a~1b anyOf: fits none of the schemas; the nearest is /properties/a~1b/anyOf/1`,
		`/a~1b maximum: must be at most 3`,
		`/id minimum: must be at least 9007199254740993`,
		`/if maximum: must be at most 1`,
		`/kind const: must be 2`,
		`/password additionalProperties: is a property that is not allowed`,
		`/status enum: must be one of "open", 1`,
		`/tags maxItems: must have at most 2 items`,
		`/tags uniqueItems: has the same item twice`,
		`/tags/0 maxLength: must have at most 3 characters`,
		`/tags/1 pattern: must match ^a`,
		`/tags/2 pattern: must match ^a`,
		`/total exclusiveMinimum: must be above 0`,
		`/total multipleOf: must be a multiple of 0.01`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("shows a value: %v", err)
	}
}

func TestViolationsAreCut(t *testing.T) {
	schema, _ := Compile([]byte(`{"items":{"type":"string"}}`))
	err := schema.Validate([]byte(`[` + strings.Repeat("1,", 149) + `1]`))
	var invalid *ValidationError
	if !errors.As(err, &invalid) || len(invalid.Violations) != MaxViolations || invalid.Omitted != 50 {
		t.Errorf("got %v", err)
	}
}

// Every saying has the words for its kind of error: none is left without.
func TestEveryKeywordHasItsWords(t *testing.T) {
	for document, payload := range map[string]string{
		`false`: `1`, `{"type":"string"}`: `1`, `{"oneOf":[true,true]}`: `1`, `{"anyOf":[false]}`: `1`,
		`{"allOf":[false]}`: `1`, `{"not":{}}`: `1`,
		`{"dependencies":{"a":["b"]}}`: `{"a":1}`, `{"const":"a"}`: `1`, `{"enum":["a"]}`: `1`,
		`{"items":[{}],"additionalItems":false}`: `[1,2]`,
		`{"minItems":1}`:                         `[]`, `{"maxItems":0}`: `[1]`, `{"uniqueItems":true}`: `[1,1.0]`,
		`{"contains":{"const":1}}`: `[2]`, `{"minProperties":1}`: `{}`,
		`{"maxProperties":0}`: `{"a":1}`, `{"additionalProperties":false}`: `{"a":1}`,
		`{"propertyNames":{"maxLength":0}}`: `{"a":1}`,
		`{"minLength":2}`:                   `"a"`, `{"maxLength":0}`: `"a"`, `{"pattern":"b"}`: `"a"`,
		`{"format":"date"}`: `"a"`, `{"multipleOf":2}`: `1`, `{"minimum":2}`: `1`,
		`{"maximum":0}`: `1`, `{"exclusiveMinimum":1}`: `1`, `{"exclusiveMaximum":1}`: `1`,
		`{"required":["a"]}`: `{}`, `{"if":true,"then":false}`: `1`,
		`{"patternProperties":{"a":false}}`:                                    `{"a":1}`,
		`{"definitions":{"a":{"const":1}},"items":{"$ref":"#/definitions/a"}}`: `[2]`,
	} {
		schema, err := Compile([]byte(document))
		if err != nil {
			t.Fatal(document, err)
		}
		err = schema.Validate([]byte(payload))
		if err == nil || strings.Contains(err.Error(), "{{") || strings.Contains(err.Error(), "_") ||
			strings.Contains(err.Error(), "<nil>") {
			t.Errorf("%s against %s: %v", payload, document, err)
		}
	}
}

// Numbers that are one float64 are different all the same.
func TestUniqueItemsBeyondFloats(t *testing.T) {
	const payload = `{"a":[[9007199254740993],[9007199254740992]]}`
	for document, unique := range map[string]bool{
		`{"properties":{"a":{"uniqueItems":true}}}`: true, `{"properties":{"a":{"not":{"uniqueItems":true}}}}`: false,
		`{"properties":{"tags":{"uniqueItems":true}}}`: true,
	} {
		schema, err := Compile([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if err = schema.Validate([]byte(payload)); (err == nil) != unique {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format, text string
		want         bool
	}{
		{"date-time", "2024-02-29T23:59:60Z", true}, {"date-time", "2024-02-29t10:00:00.123+01:00", true},
		{"date-time", "2024-02-30T10:00:00Z", false},
		{"date-time", "2024-02-29", false}, {"date", "2024-02-29", true}, {"date", "2023-02-29", false},
		{"time", "10:00:00Z", true}, {"time", "10:00:00", false},
		{"email", "a@b.c", true}, {"email", "Bob <a@b.c>", false}, {"email", "<a@b.c>", false},
		{"ipv4", "127.0.0.1", true}, {"ipv4", "::ffff:1.2.3.4", false},
		{"ipv6", "::1", true}, {"ipv6", "fe80::1%eth0", false}, {"ipv6", "127.0.0.1", false},
		{"uuid", "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", true},
		{"uuid", "f81d4fae7dec11d0a76500a0c91e6bf6", false}, {"uri", "https://a.b/c", true}, {"uri", "a/b", false},
		{"hostname", "a.b", true}, {"hostname", "a_b", false},
		{"regex", "^a", true}, {"regex", "(", false}, {"json-pointer", "/a~1b", true}, {"json-pointer", "a", false},
	} {
		if got := formats[c.format](c.text); got != c.want {
			t.Errorf("%s %q: got %v", c.format, c.text, got)
		}
	}
}

func TestValidateIsConcurrent(t *testing.T) {
	schema, err := Compile([]byte(`{"properties":{"a":{"enum":[1,2]},"b":{"format":"date"}},
		"patternProperties":{"^x":{"maximum":1}},"items":{"$ref":"#"}}`))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				if schema.Validate([]byte(`{"a":3,"b":"x","x1":2}`)) == nil ||
					schema.Validate([]byte(`[{"a":1.0}]`)) != nil {
					t.Error("wrong verdict")
				}
			}
		})
	}
	group.Wait()
}
