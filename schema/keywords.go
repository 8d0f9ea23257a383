package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// reader reads the value of one keyword into a node.
type reader func(p *parser, n *node, value any)

// readers has every keyword that is enforced, and every note.
var readers map[string]reader

func init() {
	readers = map[string]reader{
		"$schema": (*parser).readDraft, "$id": (*parser).readID, "$ref": (*parser).readRef,
		"definitions": func(p *parser, n *node, v any) { p.schemaMap(n, "definitions", v) },
		"type":        (*parser).readType, "enum": (*parser).readEnum,
		"const": func(_ *parser, n *node, v any) { n.konst, n.constSet = []any{v}, newValueSet([]any{v}) },

		"minimum":          numberReader("minimum", func(n *node) **number { return &n.minimum }),
		"maximum":          numberReader("maximum", func(n *node) **number { return &n.maximum }),
		"exclusiveMinimum": numberReader("exclusiveMinimum", func(n *node) **number { return &n.exclusiveMinimum }),
		"exclusiveMaximum": numberReader("exclusiveMaximum", func(n *node) **number { return &n.exclusiveMaximum }),
		"multipleOf":       (*parser).readMultipleOf,

		"minLength":     countReader("minLength", func(n *node) **int { return &n.minLength }),
		"maxLength":     countReader("maxLength", func(n *node) **int { return &n.maxLength }),
		"minItems":      countReader("minItems", func(n *node) **int { return &n.minItems }),
		"maxItems":      countReader("maxItems", func(n *node) **int { return &n.maxItems }),
		"minProperties": countReader("minProperties", func(n *node) **int { return &n.minProperties }),
		"maxProperties": countReader("maxProperties", func(n *node) **int { return &n.maxProperties }),

		"pattern": (*parser).readPattern, "format": (*parser).readFormat, "uniqueItems": (*parser).readUnique,

		"items":                (*parser).readItems,
		"additionalItems":      schemaReader("additionalItems", func(n *node) **node { return &n.additionalItems }),
		"contains":             schemaReader("contains", func(n *node) **node { return &n.contains }),
		"additionalProperties": schemaReader("additionalProperties", func(n *node) **node { return &n.additional }),
		"propertyNames":        schemaReader("propertyNames", func(n *node) **node { return &n.propertyNames }),
		"not":                  schemaReader("not", func(n *node) **node { return &n.not }),
		"if":                   schemaReader("if", func(n *node) **node { return &n.condition }),
		"then":                 schemaReader("then", func(n *node) **node { return &n.then }),
		"else":                 schemaReader("else", func(n *node) **node { return &n.otherwise }),
		"allOf":                listReader("allOf", func(n *node) *[]*node { return &n.allOf }),
		"anyOf":                listReader("anyOf", func(n *node) *[]*node { return &n.anyOf }),
		"oneOf":                listReader("oneOf", func(n *node) *[]*node { return &n.oneOf }),

		"required":          (*parser).readRequired,
		"properties":        func(p *parser, n *node, v any) { n.properties = p.schemaMap(n, "properties", v) },
		"patternProperties": (*parser).readPatternProperties,
		"dependencies":      (*parser).readDependencies,
	}
	for name := range notes {
		if readers[name] == nil {
			readers[name] = func(*parser, *node, any) {}
		}
	}
}

// notes are the keywords that say something to people and nothing to a validator.
var notes = map[string]bool{
	"$schema": true, "$id": true, "$comment": true, "title": true, "description": true, "default": true,
	"examples": true, "readOnly": true, "writeOnly": true, "deprecated": true, "contentEncoding": true,
	"contentMediaType": true, "definitions": true,
}

// besideRef are the keywords that lose nothing by standing beside a reference.
var besideRef = func() map[string]bool {
	allowed := map[string]bool{"$ref": true}
	for name := range notes {
		allowed[name] = true
	}
	return allowed
}()

// mendKeyword says what to write instead of a keyword that is not of draft 7.
func mendKeyword(name string) string {
	if mend, ok := mends[name]; ok {
		return mend
	}
	return "it is no keyword of draft 7; correct its spelling, remove it, or call it x-" + clip(name, maxName) +
		" if it is a note"
}

var mends = map[string]string{
	"$defs":                 "draft 7 calls it definitions",
	"prefixItems":           "draft 7 writes a list of schemas under items, and the rest under additionalItems",
	"dependentRequired":     "draft 7 writes it under dependencies",
	"dependentSchemas":      "draft 7 writes it under dependencies",
	"unevaluatedProperties": "draft 7 has only additionalProperties, beside the properties that it closes",
	"unevaluatedItems":      "draft 7 has only additionalItems, beside items",
	"minContains":           "draft 7 has contains alone, which asks for one item",
	"maxContains":           "draft 7 has contains alone, which asks for one item",
	"id":                    "draft 7 calls it $id",
	"nullable":              `add "null" to type`,
	"example":               "draft 7 has a list of examples",
	"$anchor":               "refer by #/definitions/… instead",
	"$dynamicRef":           "refer by $ref to #/definitions/… instead",
	"$dynamicAnchor":        "refer by $ref to #/definitions/… instead",
	"$recursiveRef":         "refer by $ref to # instead",
	"contentSchema":         "validate the content where it is decoded",
}

func (p *parser) readDraft(n *node, value any) {
	text, _ := value.(string)
	text = strings.TrimSuffix(strings.Replace(text, "https://", "http://", 1), "#")
	if text != "http://json-schema.org/draft-07/schema" {
		p.fault(n.path, "$schema", fmt.Sprintf("is %s: only draft 7 is enforced, "+
			`write "http://json-schema.org/draft-07/schema#" or leave it out`, brief(value)))
	}
}

func (p *parser) readID(n *node, value any) {
	if _, ok := value.(string); !ok || n.path != "" {
		p.fault(n.path, "$id", "is allowed at the root alone, as text: references go by path, so remove it")
	}
}

func (p *parser) readRef(n *node, value any) {
	text, ok := value.(string)
	if !ok || text == "" {
		p.fault(n.path, "$ref", "must be text such as #/definitions/NAME")
		return
	}
	n.refTo = text
}

func (p *parser) readType(n *node, value any) {
	names, ok := value.([]any)
	if !ok {
		names = []any{value}
	}
	for _, name := range names {
		set, known := typeByName(name)
		if !known {
			p.fault(n.path, "type", fmt.Sprintf("%s is no type: use array, boolean, integer, null, number, object "+
				"or string", brief(name)))
		}
		n.types |= set
	}
	if len(names) == 0 {
		p.fault(n.path, "type", "is an empty list, which nothing fits: name a type, or remove it")
	}
}

// brief is a value of a document, for an error.
func brief(value any) string { return clip(fmt.Sprint(value), maxName) }

func typeByName(name any) (typeSet, bool) {
	for _, t := range typeNames {
		if t.name == name {
			return t.set, true
		}
	}
	return 0, false
}

func (p *parser) readEnum(n *node, value any) {
	values, ok := value.([]any)
	if !ok || len(values) == 0 {
		p.fault(n.path, "enum", "must be a list with at least one value")
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		if key := canonical(v); !seen[key] {
			seen[key] = true
			n.enum = append(n.enum, v)
		}
	}
	n.enumSet = newValueSet(n.enum)
}

func numberReader(name string, field func(*node) **number) reader {
	return func(p *parser, n *node, value any) {
		text, ok := value.(json.Number)
		if _, isBool := value.(bool); isBool {
			p.fault(n.path, name, "is a boolean, as draft 4 has it: write the bound itself")
		} else if !ok {
			p.fault(n.path, name, "must be a number")
		} else {
			*field(n) = &number{text, rational(text), newDecimal(string(text))}
		}
	}
}

func (p *parser) readMultipleOf(n *node, value any) {
	numberReader("multipleOf", func(n *node) **number { return &n.multipleOf })(p, n, value)
	if n.multipleOf != nil && n.multipleOf.rat.Sign() <= 0 {
		p.fault(n.path, "multipleOf", "must be above 0")
	}
}

func countReader(name string, field func(*node) **int) reader {
	return func(p *parser, n *node, value any) {
		text, _ := value.(json.Number)
		count := rational(text)
		if text == "" || !count.IsInt() || count.Sign() < 0 || !count.Num().IsInt64() || count.Num().Int64() > 1<<31-1 {
			p.fault(n.path, name, "must be a whole number from 0 to 2147483647")
			return
		}
		size := int(count.Num().Int64())
		*field(n) = &size
	}
}

func (p *parser) readPattern(n *node, value any) {
	text, ok := value.(string)
	if !ok {
		p.fault(n.path, "pattern", "must be text")
		return
	}
	n.pattern, n.regex = text, p.regex(n, "pattern", text)
}

// regex compiles an expression; the engine has no look-around and no back references.
func (p *parser) regex(n *node, keyword, text string) *expression {
	if p.expressions.spent() { // which has been said
		return nil
	}
	compiled, err := p.expressions.compile(text)
	switch {
	case errors.Is(err, errCostlyExpressions):
		p.fault(n.path, keyword, err.Error())
	case err != nil:
		p.fault(n.path, keyword, fmt.Sprintf("%s: expressions are those of Go (RE2), which have no "+
			"look-ahead, no look-behind, no back references and no \\u escapes: rewrite it without", brief(err)))
	}
	return compiled
}

func (p *parser) readFormat(n *node, value any) {
	text, _ := value.(string)
	if _, known := formats[text]; !known {
		p.fault(n.path, "format", fmt.Sprintf("%s would not be enforced: use one of %s, or a pattern",
			brief(value), strings.Join(sortedKeys(formats), ", ")))
		return
	}
	n.format = text
}

func (p *parser) readUnique(n *node, value any) {
	unique, ok := value.(bool)
	if !ok {
		p.fault(n.path, "uniqueItems", "must be true or false")
	}
	n.unique = unique
}

func (p *parser) readItems(n *node, value any) {
	list, ok := value.([]any)
	if !ok {
		n.items = p.schema(pointer(n.path, "items"), value)
		return
	}
	n.tuple = p.schemaList(n, "items", list)
}

func schemaReader(name string, field func(*node) **node) reader {
	return func(p *parser, n *node, value any) {
		*field(n) = p.schema(pointer(n.path, name), value)
	}
}

func listReader(name string, field func(*node) *[]*node) reader {
	return func(p *parser, n *node, value any) {
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			p.fault(n.path, name, "must be a list with at least one schema")
			return
		}
		*field(n) = p.schemaList(n, name, list)
	}
}

func (p *parser) schemaList(n *node, name string, values []any) []*node {
	nodes := make([]*node, len(values))
	for i, value := range values {
		nodes[i] = p.schema(pointer(pointer(n.path, name), strconv.Itoa(i)), value)
	}
	return nodes
}

func (p *parser) schemaMap(n *node, name string, value any) map[string]*node {
	object, ok := value.(map[string]any)
	if !ok {
		p.fault(n.path, name, "must be an object of schemas")
	}
	nodes := map[string]*node{}
	for _, key := range sortedKeys(object) {
		nodes[key] = p.schema(pointer(pointer(n.path, name), key), object[key])
	}
	return nodes
}

func (p *parser) readRequired(n *node, value any) {
	n.required = p.keyList(n, "required", value)
}

func (p *parser) keyList(n *node, keyword string, value any) []string {
	values, ok := value.([]any)
	keys := []string{}
	for _, v := range values {
		key, isText := v.(string)
		ok = ok && isText
		keys = append(keys, key)
	}
	if !ok {
		p.fault(n.path, keyword, "must be a list of property names")
	}
	return unique(keys)
}

func unique(keys []string) []string {
	seen := map[string]bool{}
	kept := keys[:0]
	for _, key := range keys {
		if !seen[key] {
			kept = append(kept, key)
		}
		seen[key] = true
	}
	return kept
}

func (p *parser) readPatternProperties(n *node, value any) {
	schemas := p.schemaMap(n, "patternProperties", value)
	for _, pattern := range sortedKeys(schemas) {
		if regex := p.regex(n, "patternProperties", pattern); regex != nil {
			n.patterns = append(n.patterns, patternSchema{pattern, regex, schemas[pattern]})
		}
	}
}

func (p *parser) readDependencies(n *node, value any) {
	object, ok := value.(map[string]any)
	if !ok {
		p.fault(n.path, "dependencies", "must be an object of lists or schemas")
	}
	for _, key := range sortedKeys(object) {
		entry := dependency{key: key}
		if _, isList := object[key].([]any); isList {
			entry.keys = p.keyList(n, "dependencies", object[key])
		} else {
			entry.schema = p.schema(pointer(pointer(n.path, "dependencies"), key), object[key])
		}
		n.dependencies = append(n.dependencies, entry)
	}
}
