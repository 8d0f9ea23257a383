package schema

import (
	"encoding/json"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"unicode/utf8"
)

// reference is draft 7 written down as plainly as possible, from the raw document: the second opinion of the fuzz
// tests. It shares the formats and the exact value of a number with the evaluator, and knows what randomSchema writes.
type reference struct{ document object }

func (r reference) valid(schema, value any) bool {
	if always, ok := schema.(bool); ok {
		return always
	}
	s := schema.(object)
	switch s["$ref"] {
	case "#":
		return r.valid(r.document, value)
	case "#/definitions/n":
		return r.valid(r.document["definitions"].(object)["n"], value)
	}
	return r.logic(s, value) && r.general(s, value) && r.number(s, value) && r.text(s, value) && r.array(s, value) &&
		r.object(s, value)
}

func (r reference) count(schemas any, value any) (n int) {
	for _, s := range schemas.([]any) {
		if r.valid(s, value) {
			n++
		}
	}
	return n
}

func (r reference) logic(s object, value any) bool {
	if all, ok := s["allOf"]; ok && r.count(all, value) < len(all.([]any)) {
		return false
	}
	if some, ok := s["anyOf"]; ok && r.count(some, value) == 0 {
		return false
	}
	if one, ok := s["oneOf"]; ok && r.count(one, value) != 1 {
		return false
	}
	if not, ok := s["not"]; ok && r.valid(not, value) {
		return false
	}
	condition, ok := s["if"]
	if !ok {
		return true
	}
	branch := "else"
	if r.valid(condition, value) {
		branch = "then"
	}
	next, ok := s[branch]
	return !ok || r.valid(next, value)
}

func (r reference) general(s object, value any) bool {
	if list, ok := s["enum"]; ok {
		found := false
		for _, v := range list.([]any) {
			found = found || sameValues(v, value)
		}
		if !found {
			return false
		}
	}
	if v, ok := s["const"]; ok && !sameValues(v, value) {
		return false
	}
	names, ok := s["type"].([]any)
	if !ok {
		names = []any{s["type"]}
	}
	for _, name := range names {
		if name == nil || hasType(name.(string), value) {
			return true
		}
	}
	return false
}

// sameValues compares two JSON values.
func sameValues(a, b any) bool {
	switch v := a.(type) {
	case json.Number:
		w, ok := b.(json.Number)
		return ok && rational(v).Cmp(rational(w)) == 0
	case []any:
		w, ok := b.([]any)
		return ok && slices.EqualFunc(v, w, sameValues)
	case object:
		w, ok := b.(object)
		return ok && maps.EqualFunc(v, w, sameValues)
	}
	return reflect.DeepEqual(a, b)
}

func hasType(name string, value any) bool {
	switch name {
	case "null":
		return value == nil
	case "integer":
		n, ok := value.(json.Number)
		return ok && rational(n).IsInt()
	}
	set, _ := typeByName(name)
	return typeOf(value)&set != 0 && (value != nil)
}

func (r reference) number(s object, value any) bool {
	n, ok := value.(json.Number)
	if !ok {
		return true
	}
	x := rational(n)
	compare := func(keyword string, bad func(int) bool) bool {
		bound, ok := s[keyword].(json.Number)
		return ok && bad(x.Cmp(rational(bound)))
	}
	if step, ok := s["multipleOf"].(json.Number); ok && !new(big.Rat).Quo(x, rational(step)).IsInt() {
		return false
	}
	return !compare("minimum", func(c int) bool { return c < 0 }) &&
		!compare("maximum", func(c int) bool { return c > 0 }) &&
		!compare("exclusiveMinimum", func(c int) bool { return c <= 0 }) &&
		!compare("exclusiveMaximum", func(c int) bool { return c >= 0 })
}

func within(s object, what string, n int) bool {
	if low, ok := s["min"+what].(json.Number); ok && rational(low).Cmp(big.NewRat(int64(n), 1)) > 0 {
		return false
	}
	high, ok := s["max"+what].(json.Number)
	return !ok || rational(high).Cmp(big.NewRat(int64(n), 1)) >= 0
}

func (r reference) text(s object, value any) bool {
	text, ok := value.(string)
	if !ok {
		return true
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(text) {
		return false
	}
	if format, ok := s["format"].(string); ok && !formats[format](text) {
		return false
	}
	return within(s, "Length", utf8.RuneCountInString(text))
}

func (r reference) array(s object, value any) bool {
	list, ok := value.([]any)
	if !ok {
		return true
	}
	contained := s["contains"] == nil
	for i, item := range list {
		isItem := func(other any) bool { return sameValues(item, other) }
		if s["uniqueItems"] == true && slices.ContainsFunc(list[:i], isItem) || !r.item(s, i, item) {
			return false
		}
		contained = contained || r.valid(s["contains"], item)
	}
	return contained && within(s, "Items", len(list))
}

func (r reference) item(s object, i int, item any) bool {
	schema := s["items"]
	if tuple, ok := schema.([]any); ok {
		schema = s["additionalItems"]
		if i < len(tuple) {
			schema = tuple[i]
		}
	}
	return schema == nil || r.valid(schema, item)
}

func (r reference) object(s object, value any) bool {
	v, ok := value.(object)
	if !ok {
		return true
	}
	if required, ok := s["required"].([]any); ok {
		for _, key := range required {
			if _, has := v[key.(string)]; !has {
				return false
			}
		}
	}
	for key, item := range v {
		if !r.property(s, key, item) {
			return false
		}
	}
	return within(s, "Properties", len(v)) && r.dependencies(s, v)
}

func (r reference) property(s object, key string, item any) bool {
	found := false
	if properties, ok := s["properties"].(object); ok {
		if schema, ok := properties[key]; ok {
			found = true
			if !r.valid(schema, item) {
				return false
			}
		}
	}
	if patterns, ok := s["patternProperties"].(object); ok {
		for pattern, schema := range patterns {
			if regexp.MustCompile(pattern).MatchString(key) {
				found = true
				if !r.valid(schema, item) {
					return false
				}
			}
		}
	}
	if additional, ok := s["additionalProperties"]; ok && !found && !r.valid(additional, item) {
		return false
	}
	names, ok := s["propertyNames"]
	return !ok || r.valid(names, key)
}

func (r reference) dependencies(s, v object) bool {
	dependencies, _ := s["dependencies"].(object)
	for key, needed := range dependencies {
		if _, has := v[key]; !has {
			continue
		}
		keys, isList := needed.([]any)
		if !isList && !r.valid(needed, v) {
			return false
		}
		for _, other := range keys {
			if _, has := v[other.(string)]; !has {
				return false
			}
		}
	}
	return true
}
