package schema

import (
	"encoding/json"
	"strconv"

	"github.com/xeipuuv/gojsonschema"
)

// engine is gojsonschema, given a document of ours that means the same and stays clear of its faults: references go
// to numbered definitions, numbers of enum and const are compared as exact bounds, formats are ours, notes are gone.
type engine struct {
	schema *gojsonschema.Schema
	exact  []exactRule // what stands for an enum or const with numbers
}

// exactRule is an enum or const that gojsonschema sees as a condition.
type exactRule struct {
	rule   string
	values []any
}

// exactMark begins the value that gojsonschema names when an exactRule is broken.
const exactMark = "\x01strunk/schema:"

func newEngine(root *node) (*engine, error) {
	w := &writer{engine: &engine{}, names: map[*node]string{}, definitions: map[string]any{}}
	document := w.document(root)
	loader := gojsonschema.NewSchemaLoader()
	loader.Draft, loader.AutoDetect = gojsonschema.Draft7, false
	var err error
	w.engine.schema, err = loader.Compile(gojsonschema.NewRawLoader(document))
	return w.engine, err
}

// writer writes nodes as a document for gojsonschema.
type writer struct {
	engine      *engine
	names       map[*node]string // of the definitions
	pending     []*node          // definitions still to be written
	definitions map[string]any
}

func (w *writer) document(root *node) any {
	document, isObject := w.schema(root).(map[string]any)
	if !isObject {
		return *root.always
	}
	for len(w.pending) > 0 {
		next := w.pending[0]
		w.pending = w.pending[1:]
		w.definitions[w.names[next]] = w.schema(next)
	}
	document["definitions"] = w.definitions
	return document
}

func (w *writer) reference(target *node) string {
	name, known := w.names[target]
	if !known {
		name = strconv.Itoa(len(w.names))
		w.names[target] = name
		w.pending = append(w.pending, target)
	}
	return "#/definitions/" + name
}

func (w *writer) schema(n *node) any {
	if n.always != nil {
		return *n.always
	}
	if n.ref != nil {
		return map[string]any{"$ref": w.reference(n.ref)}
	}
	out := map[string]any{}
	w.writeValues(out, n)
	w.writeNumbers(out, n)
	w.writeStrings(out, n)
	w.writeArrays(out, n)
	w.writeObjects(out, n)
	w.writeLogic(out, n)
	return out
}

func (w *writer) writeValues(out map[string]any, n *node) {
	if n.types != 0 {
		out["type"] = asList(n.types.names())
	}
	var exact []any
	if n.enum != nil {
		exact = w.writeEqual(out, exact, "enum", n.enum)
	}
	if n.konst != nil {
		exact = w.writeEqual(out, exact, "const", n.konst)
	}
	if exact != nil {
		out["allOf"] = exact
	}
}

// writeEqual writes an enum or const: as it is when it holds no number, otherwise as a condition of exact bounds
// whose failure shows a mark.
func (w *writer) writeEqual(out map[string]any, exact []any, rule string, values []any) []any {
	switch {
	case !anyNumber(values) && rule == "const":
		out["const"] = values[0]
		return exact
	case !anyNumber(values):
		out["enum"] = values
		return exact
	}
	branches := make([]any, len(values))
	for i, value := range values {
		branches[i] = equalTo(value)
	}
	mark := exactMark + strconv.Itoa(len(w.engine.exact))
	w.engine.exact = append(w.engine.exact, exactRule{rule, values})
	return append(exact, map[string]any{
		"if":   map[string]any{"anyOf": branches},
		"else": map[string]any{"not": true, "enum": []any{mark}},
	})
}

func anyNumber(value any) bool {
	switch v := value.(type) {
	case json.Number:
		return true
	case []any:
		for _, item := range v {
			if anyNumber(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if anyNumber(item) {
				return true
			}
		}
	}
	return false
}

// equalTo writes a schema that only one value passes; numbers as bounds, which gojsonschema compares exactly.
func equalTo(value any) any {
	switch v := value.(type) {
	case json.Number:
		return map[string]any{"type": "number", "minimum": v, "maximum": v}
	case []any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = equalTo(item)
		}
		return map[string]any{"type": "array", "items": items, "minItems": count(len(v)), "maxItems": count(len(v))}
	case map[string]any:
		properties, required := map[string]any{}, []any{}
		for _, key := range sortedKeys(v) {
			properties[key] = equalTo(v[key])
			required = append(required, key)
		}
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	return map[string]any{"const": value}
}

func (w *writer) writeNumbers(out map[string]any, n *node) {
	for name, bound := range map[string]*number{
		"minimum": n.minimum, "maximum": n.maximum, "multipleOf": n.multipleOf,
		"exclusiveMinimum": n.exclusiveMinimum, "exclusiveMaximum": n.exclusiveMaximum,
	} {
		if bound != nil {
			out[name] = bound.text
		}
	}
}

func (w *writer) writeStrings(out map[string]any, n *node) {
	w.writeCounts(out, map[string]*int{"minLength": n.minLength, "maxLength": n.maxLength})
	if n.regex != nil {
		out["pattern"] = n.pattern
	}
	if n.format != "" {
		out["format"] = formatPrefix + n.format
	}
}

func (w *writer) writeArrays(out map[string]any, n *node) {
	w.writeCounts(out, map[string]*int{"minItems": n.minItems, "maxItems": n.maxItems})
	w.writeSchemas(out, map[string]*node{"items": n.items, "contains": n.contains})
	switch {
	case len(n.tuple) > 0:
		out["items"] = w.list(n.tuple)
		w.writeSchemas(out, map[string]*node{"additionalItems": n.additionalItems})
	case n.tuple != nil: // gojsonschema ignores additionalItems beside an empty list
		w.writeSchemas(out, map[string]*node{"items": n.additionalItems})
	}
	if n.unique {
		out["uniqueItems"] = true
	}
}

func (w *writer) writeObjects(out map[string]any, n *node) {
	w.writeCounts(out, map[string]*int{"minProperties": n.minProperties, "maxProperties": n.maxProperties})
	w.writeSchemas(out, map[string]*node{"additionalProperties": n.additional, "propertyNames": n.propertyNames})
	if len(n.required) > 0 {
		out["required"] = asList(n.required)
	}
	properties, patterns, dependencies := map[string]any{}, map[string]any{}, map[string]any{}
	for key, schema := range n.properties {
		properties[key] = w.schema(schema)
	}
	for _, p := range n.patterns {
		patterns[p.pattern] = w.schema(p.schema)
	}
	for _, d := range n.dependencies {
		if d.schema == nil {
			dependencies[d.key] = asList(d.keys)
		} else {
			dependencies[d.key] = w.schema(d.schema)
		}
	}
	out["properties"], out["patternProperties"], out["dependencies"] = properties, patterns, dependencies
}

func (w *writer) writeLogic(out map[string]any, n *node) {
	w.writeSchemas(out, map[string]*node{"not": n.not, "if": n.condition, "then": n.then, "else": n.otherwise})
	exact, _ := out["allOf"].([]any)
	if all := append(exact, w.list(n.allOf)...); len(all) > 0 {
		out["allOf"] = all
	}
	if len(n.anyOf) > 0 {
		out["anyOf"] = w.list(n.anyOf)
	}
	if len(n.oneOf) > 0 {
		out["oneOf"] = w.list(n.oneOf)
	}
}

func (w *writer) writeCounts(out map[string]any, counts map[string]*int) {
	for name, n := range counts {
		if n != nil {
			out[name] = count(*n)
		}
	}
}

func (w *writer) writeSchemas(out map[string]any, schemas map[string]*node) {
	for name, n := range schemas {
		if n != nil {
			out[name] = w.schema(n)
		}
	}
}

func (w *writer) list(nodes []*node) []any {
	list := make([]any, len(nodes))
	for i, n := range nodes {
		list[i] = w.schema(n)
	}
	return list
}

func count(n int) json.Number { return json.Number(strconv.Itoa(n)) }

func asList(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}
