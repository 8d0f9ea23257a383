package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/invopop/jsonschema"
)

func (g *generator) structSchema(t reflect.Type, where string) object {
	schema := object{"type": "object"}
	properties, required := object{}, []string{}
	for _, f := range jsonFields(t) {
		if f.Tag.Get("jsonschema") == "-" { // written all the same, so that a closed object must know it
			if g.closed {
				properties[f.name] = object{}
			}
			continue
		}
		tags := splitTag(f.Tag.Get("jsonschema"))
		properties[f.name] = g.fieldSchema(schema, f, where+"."+f.Name)
		if !f.optional || slices.Contains(tags, "required") {
			required = append(required, f.name)
		}
	}
	if len(properties) > 0 {
		schema["properties"] = properties
	}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = required
	}
	if g.closed {
		schema["additionalProperties"] = false
	}
	return schema
}

// fieldSchema writes the schema of a field; the tags oneof_required and anyof_required add to the parent's.
func (g *generator) fieldSchema(parent object, f field, where string) object {
	schema, canBeNull := g.typeSchema(f.Type, where)
	if f.quoted && !isMarshaler(indirect(f.Type)) {
		schema = quotedSchema(indirect(f.Type))
	}
	if f.noNull {
		canBeNull = g.nullInside(f.Type, where)
	}
	if f.Tag.Get("jsonschema") != "" || f.Tag.Get("jsonschema_description") != "" ||
		f.Tag.Get("jsonschema_extras") != "" {
		schema = g.tagged(parent, schema, f, where)
	}
	return g.nullable(schema, canBeNull || slices.Contains(splitTag(f.Tag.Get("jsonschema")), "nullable"))
}

// nullInside reports whether a field that is never nil itself may still be written as null: a pointer to a nil.
func (g *generator) nullInside(t reflect.Type, where string) bool {
	if t.Kind() != reflect.Pointer {
		return false
	}
	_, null := g.typeSchema(t.Elem(), where)
	return null
}

// quotedSchema is what the json option string writes.
func quotedSchema(t reflect.Type) object {
	switch kind := t.Kind(); {
	case kind == reflect.Bool:
		return object{"type": "string", "enum": []any{"true", "false"}}
	case kind >= reflect.Int && kind <= reflect.Int64:
		return object{"type": "string", "pattern": "^(0|-?[1-9][0-9]*)$"}
	case kind >= reflect.Uint && kind <= reflect.Uintptr:
		return object{"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
	}
	return object{"type": "string"}
}

// tagged adds the tags of a field to its schema. Invopop reads them, on a stand-in of the same JSON type.
func (g *generator) tagged(parent, schema object, f field, where string) object {
	tag := f.Tag.Get("jsonschema")
	g.checkTag(tag, where, jsonTypes(schema)...)
	reflector := jsonschema.Reflector{Anonymous: true, DoNotReference: true, AllowAdditionalProperties: true}
	read := reflector.ReflectFromType(reflect.StructOf([]reflect.StructField{{
		Name: "F", Type: standIn(schema), Tag: standInTag(f, tag),
	}}))
	mergeAlternatives(parent, "oneOf", read.OneOf)
	mergeAlternatives(parent, "anyOf", read.AnyOf)
	property, _ := read.Properties.Get(f.name)
	text, err := json.Marshal(property)
	tags, isObject := asDraft7(text, "#").(object)
	if err != nil {
		g.fault(where, err.Error())
	} else if isObject {
		return overlay(schema, tags)
	}
	return schema
}

func standInTag(f field, tag string) reflect.StructTag {
	var kept []byte
	for _, item := range bytes.Split([]byte(tag), []byte(",")) {
		if text := string(item); text != "required" && text != "nullable" {
			kept = append(append(kept, item...), ',')
		}
	}
	return reflect.StructTag(fmt.Sprintf("json:%q jsonschema:%q jsonschema_description:%q jsonschema_extras:%q",
		f.name, bytes.TrimSuffix(kept, []byte(",")), f.Tag.Get("jsonschema_description"),
		f.Tag.Get("jsonschema_extras")))
}

// jsonTypes names the type of a schema, after that of its items.
func jsonTypes(schema object) []string {
	name := jsonType(schema)
	if items, ok := schema["items"].(object); ok {
		return append(jsonTypes(items), name)
	}
	if name == "" {
		return nil
	}
	return []string{name}
}

func jsonType(schema object) string {
	if list, ok := schema["type"].([]any); ok {
		return list[0].(string)
	}
	name, _ := schema["type"].(string)
	return name
}

// standIn is a Go type for which invopop reads the tags of a schema's type.
func standIn(schema object) reflect.Type {
	switch jsonType(schema) {
	case "string":
		return reflect.TypeFor[string]()
	case "integer":
		return reflect.TypeFor[int64]()
	case "number":
		return reflect.TypeFor[float64]()
	case "boolean":
		return reflect.TypeFor[bool]()
	case "array":
		items, _ := schema["items"].(object)
		return reflect.SliceOf(standIn(items))
	}
	return reflect.TypeFor[any]()
}

// overlay puts what the tags say on a schema. Tags that name another type, or a choice of types, replace it.
func overlay(schema, tags object) object {
	name, typed := tags["type"].(string)
	if tags["oneOf"] != nil || tags["anyOf"] != nil || typed && name != jsonType(schema) {
		return tags
	}
	for keyword, value := range tags {
		items, _ := schema["items"].(object)
		inner, isObject := value.(object)
		switch {
		case keyword == "items" && isObject && items != nil && items["$ref"] == nil:
			schema["items"] = overlay(items, inner)
		case keyword != "items" && keyword != "type":
			schema[keyword] = value
		}
	}
	withNull(schema)
	return schema
}

// mergeAlternatives adds what one field says about which fields are required together, by the alternative's title.
func mergeAlternatives(parent object, keyword string, read []*jsonschema.Schema) {
	list, _ := parent[keyword].([]any)
	for _, alternative := range read {
		at := slices.IndexFunc(list, func(known any) bool { return known.(object)["title"] == alternative.Title })
		if at < 0 {
			at = len(list)
			list = append(list, object{"title": alternative.Title, "required": []string{}})
		}
		known := list[at].(object)
		known["required"] = append(known["required"].([]string), alternative.Required...)
	}
	if list != nil {
		parent[keyword] = list
	}
}
