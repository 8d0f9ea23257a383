package schema

import (
	"encoding/json"
	"maps"

	"pgregory.net/rapid"
)

// fittingValue draws a value that is likely to pass a schema of a document: its keywords lead the choice. Whether the
// value passes is the referee's to say.
func fittingValue(t *rapid.T, document object, schema any, depth int) any {
	s, ok := schema.(object)
	if !ok || depth == 0 {
		return randomValue(t, min(depth, 1))
	}
	s = led(t, document, s, depth)
	if list, ok := s["enum"].([]any); ok && len(list) > 0 {
		return pick(t, list)
	}
	if value, ok := s["const"]; ok {
		return value
	}
	switch fittingType(t, s) {
	case "array":
		return fittingArray(t, document, s, depth-1)
	case "object":
		return fittingObject(t, document, s, depth-1)
	case "integer", "number":
		return fittingNumber(t, s)
	case "string":
		return pick(t, someStrings)
	case "null":
		return nil
	case "boolean":
		return rapid.Bool().Draw(t, "boolean")
	}
	return randomValue(t, min(depth, 2))
}

// led follows references and adds the keywords of a branch of each choice, where the schema has none of that name.
func led(t *rapid.T, document, s object, depth int) object {
	switch s["$ref"] {
	case "#":
		return led(t, document, document, depth-1)
	case "#/definitions/n":
		n, ok := document["definitions"].(object)["n"].(object)
		if !ok || depth == 0 {
			return object{}
		}
		return led(t, document, n, depth-1)
	}
	merged := maps.Clone(s)
	var branches []any
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		if list, ok := s[keyword].([]any); ok {
			branches = append(branches, pick(t, list))
		}
	}
	branches = append(branches, s[pick(t, []string{"then", "else"})])
	for _, branch := range branches {
		b, ok := branch.(object)
		if !ok || depth == 0 {
			continue
		}
		for keyword, value := range led(t, document, b, depth-1) {
			if _, has := merged[keyword]; !has {
				merged[keyword] = value
			}
		}
	}
	return merged
}

func fittingType(t *rapid.T, s object) string {
	switch names := s["type"].(type) {
	case string:
		return names
	case []any:
		return pick(t, names).(string)
	}
	for _, hint := range []struct{ keyword, name string }{{"items", "array"}, {"contains", "array"},
		{"properties", "object"}, {"required", "object"}, {"patternProperties", "object"}, {"pattern", "string"},
		{"minimum", "number"}, {"multipleOf", "number"}} {
		if _, has := s[hint.keyword]; has && !chance(t, 4) {
			return hint.name
		}
	}
	return ""
}

func fittingNumber(t *rapid.T, s object) any {
	for _, keyword := range []string{"minimum", "maximum", "multipleOf"} {
		if n, ok := s[keyword].(json.Number); ok && chance(t, 2) {
			return n
		}
	}
	return json.Number(pick(t, someNumbers))
}

func count(t *rapid.T, s object, keyword string, most int) int {
	least := 0
	if n, ok := s[keyword].(json.Number); ok {
		least = int(rational(n).Num().Int64())
	}
	return least + rapid.IntRange(0, most).Draw(t, "more")
}

func fittingArray(t *rapid.T, document, s object, depth int) any {
	list := []any{}
	for i := range count(t, s, "minItems", 2) {
		item := any(object{})
		switch items := s["items"].(type) {
		case object:
			item = items
		case []any:
			if item = s["additionalItems"]; i < len(items) {
				item = items[i]
			}
		}
		if contained := s["contains"]; contained != nil && i == 0 {
			item = contained
		}
		list = append(list, fittingValue(t, document, item, depth))
	}
	return list
}

func fittingObject(t *rapid.T, document, s object, depth int) any {
	properties, _ := s["properties"].(object)
	keys := map[string]bool{}
	if required, ok := s["required"].([]any); ok {
		for _, key := range required {
			keys[key.(string)] = true
		}
	}
	for _, key := range sortedKeys(properties) {
		keys[key] = keys[key] || chance(t, 2)
	}
	for range count(t, s, "minProperties", 1) {
		keys[pick(t, someKeys)] = true
	}
	value := object{}
	for _, key := range sortedKeys(keys) {
		if !keys[key] {
			continue
		}
		schema, ok := properties[key]
		if !ok {
			schema = s["additionalProperties"]
		}
		value[key] = fittingValue(t, document, schema, depth)
	}
	return value
}
