package schema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What random schemas and payloads are made of: few enough to meet often.
var (
	someKeys    = []string{"a", "b", "ab", "c"}
	someStrings = []string{"", "a", "b", "ab", "abc", "2024-02-30", "127.0.0.1"}
	someNumbers = []string{"-1", "0", "0.5", "1", "1.0", "1.5", "2", "3", "4", "6", "9007199254740993",
		"9007199254740992"}
	somePatterns = []string{"^a", "b$", "^[ab]*$", ""}
	someFormats  = []string{"date", "ipv4", "uuid"}
	someTypes    = []string{"null", "boolean", "integer", "number", "string", "array", "object"}
)

func pick[V any](t *rapid.T, from []V) V { return rapid.SampledFrom(from).Draw(t, "pick") }

func chance(t *rapid.T, oneIn int) bool { return rapid.IntRange(1, oneIn).Draw(t, "chance") == 1 }

// randomValue draws a JSON value of at most depth levels.
func randomValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return pick(t, []any{nil, true, false})
	case 1, 2:
		return json.Number(pick(t, someNumbers))
	case 3:
		return pick(t, someStrings)
	case 4:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "len") {
			list = append(list, randomValue(t, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "len") {
		object[pick(t, someKeys)] = randomValue(t, depth-1)
	}
	return object
}

// randomSchema draws a schema; references go to the definition n, and never in place.
func randomSchema(t *rapid.T, depth int, inPlace bool) any {
	if chance(t, 12) {
		return rapid.Bool().Draw(t, "always")
	}
	if !inPlace && chance(t, 8) {
		return object{"$ref": pick(t, []string{"#", "#/definitions/n"})}
	}
	schema := object{}
	for range rapid.IntRange(0, 3).Draw(t, "keywords") {
		addKeyword(t, schema, depth)
	}
	settle(schema)
	return schema
}

// settle removes what Compile refuses.
func settle(schema object) {
	for _, what := range []string{"Length", "Items", "Properties"} {
		low, hasLow := schema["min"+what].(json.Number)
		high, hasHigh := schema["max"+what].(json.Number)
		if hasLow && hasHigh && low > high {
			delete(schema, "min"+what)
		}
	}
	if _, isList := schema["items"].([]any); !isList {
		delete(schema, "additionalItems")
	}
	if schema["if"] == nil {
		delete(schema, "then")
		delete(schema, "else")
	}
}

func addKeyword(t *rapid.T, schema object, depth int) {
	keywords := scalarKeywords
	if depth > 0 {
		keywords = append(append([]string{}, scalarKeywords...), nestingKeywords...)
	}
	keyword := pick(t, keywords)
	schema[keyword] = randomKeyword(t, keyword, depth)
}

var (
	scalarKeywords = []string{
		"type", "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
		"minLength",
		"maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "required", "minProperties",
		"maxProperties",
	}
	nestingKeywords = []string{
		"properties", "properties", "additionalProperties", "patternProperties", "propertyNames", "items", "tuple",
		"additionalItems",
		"contains", "dependencies", "allOf", "anyOf", "oneOf", "not", "if", "then", "else",
	}
)

func randomKeyword(t *rapid.T, keyword string, depth int) any {
	switch keyword {
	case "type":
		if chance(t, 3) {
			return []any{pick(t, someTypes[:3]), pick(t, someTypes[4:])}
		}
		return pick(t, someTypes)
	case "enum":
		return []any{randomValue(t, 1), randomValue(t, 1), randomValue(t, 1)}
	case "const":
		return randomValue(t, 1)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		return json.Number(pick(t, someNumbers))
	case "multipleOf":
		return json.Number(pick(t, []string{"0.5", "1", "2", "3", "1.5"}))
	case "pattern":
		return pick(t, somePatterns)
	case "format":
		return pick(t, someFormats)
	case "uniqueItems":
		return true
	case "required":
		return []any{pick(t, someKeys)}
	}
	if strings.HasPrefix(keyword, "min") || strings.HasPrefix(keyword, "max") {
		return json.Number(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "count")))
	}
	return randomNesting(t, keyword, depth-1)
}

func randomNesting(t *rapid.T, keyword string, depth int) any {
	below := func() any { return randomSchema(t, depth, false) }
	inPlace := func() any { return randomSchema(t, depth, true) }
	switch keyword {
	case "properties":
		return object{pick(t, someKeys): below(), pick(t, someKeys): below()}
	case "patternProperties":
		return object{pick(t, somePatterns): below()}
	case "tuple":
		return below()
	case "items":
		if rapid.Bool().Draw(t, "tuple") {
			return []any{below(), below()}
		}
		return below()
	case "dependencies":
		if rapid.Bool().Draw(t, "keys") {
			return object{pick(t, someKeys): []any{pick(t, someKeys)}}
		}
		return object{pick(t, someKeys): inPlace()}
	case "allOf", "anyOf", "oneOf":
		return []any{inPlace(), inPlace()}
	case "not", "if", "then", "else":
		return inPlace()
	}
	return below()
}

// randomDocument draws a document with the definition n.
func randomDocument(t *rapid.T) object {
	document, isObject := randomSchema(t, 3, true).(object)
	if !isObject {
		document = object{}
	}
	document["definitions"] = object{"n": randomSchema(t, 2, true)}
	return fixTuples(document).(object)
}

// fixTuples renames the keyword "tuple", which stands for items as a list.
func fixTuples(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = fixTuples(v[i])
		}
	case object:
		for key := range v {
			v[key] = fixTuples(v[key])
		}
		if rest, ok := v["tuple"]; ok {
			delete(v, "tuple")
			v["items"] = []any{rest}
		}
		settle(v)
	}
	return value
}

// changed draws a document that is close to another.
func changed(t *rapid.T, document object) object {
	text, _ := json.Marshal(document)
	value, _ := decodeOne(text)
	copied := value.(object)
	definitions := copied["definitions"]
	delete(copied, "definitions")
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		copied = object{"anyOf": []any{copied, randomSchema(t, 2, true)}}
	case 1:
		copied = object{"not": object{"not": copied}}
	case 2:
		copied = object{"allOf": []any{copied, randomSchema(t, 2, true)}}
	case 3:
		copied = object{"oneOf": []any{copied, object{"allOf": []any{randomSchema(t, 2, true), object{"not": copied}}}}}
	case 4:
		copied = object{"if": randomSchema(t, 1, true), "then": copied, "else": copied}
	case 5:
		copied, _ = randomDocument(t), 0
		delete(copied, "definitions")
	default:
		for range rapid.IntRange(1, 2).Draw(t, "edits") {
			edit(t, copied)
		}
	}
	copied["definitions"] = definitions
	if chance(t, 4) {
		copied["definitions"] = object{"n": randomSchema(t, 2, true)}
	}
	return fixTuples(copied).(object)
}

// edit drops, changes or adds a keyword somewhere in a schema.
func edit(t *rapid.T, schema object) {
	keys := sortedKeys(schema)
	if len(keys) == 0 || chance(t, 4) {
		if schema["$ref"] == nil {
			addKeyword(t, schema, 2)
		}
		return
	}
	key := pick(t, keys)
	switch v := schema[key].(type) {
	case object:
		if key == "properties" || key == "patternProperties" || key == "dependencies" {
			editIn(t, v)
			return
		}
		edit(t, v)
	case []any:
		inner, ok := append(v, nil)[0].(object)
		if ok && key != "enum" && key != "const" {
			edit(t, inner)
			return
		}
		delete(schema, key)
	default:
		delete(schema, key)
	}
}

func editIn(t *rapid.T, schemas object) {
	key := pick(t, sortedKeys(schemas))
	if inner, ok := schemas[key].(object); ok {
		edit(t, inner)
		return
	}
	delete(schemas, key)
	schemas[key] = true
}

// drawFrom lets a fuzzer drive a property; random seeds give it enough to draw from at the start.
func drawFrom(f *testing.F, property func(*rapid.T)) {
	source := rand.New(rand.NewPCG(1, 2))
	for i := range 16 {
		seed := make([]byte, 512<<(i%5))
		for j := range seed {
			seed[j] = byte(source.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(rapid.MakeFuzz(property))
}

func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
