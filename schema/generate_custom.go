package schema

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

var (
	schemaMethods = []reflect.Type{
		reflect.TypeFor[interface{ JSONSchema() *jsonschema.Schema }](),
		reflect.TypeFor[interface{ JSONSchema() []byte }](),
	}
	otherMethods = []reflect.Type{
		reflect.TypeFor[interface{ JSONSchemaExtend(*jsonschema.Schema) }](),
		reflect.TypeFor[interface{ JSONSchemaAlias() any }](),
		reflect.TypeFor[interface{ JSONSchemaProperty(string) any }](),
	}
)

func implementsAny(t reflect.Type, interfaces []reflect.Type) bool {
	for _, i := range interfaces {
		if t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}

// hasSchema reports whether a type has a method JSONSchema that is its own: one that an embedded struct lends it
// describes that struct alone.
func hasSchema(t reflect.Type) bool {
	if !implementsAny(t, schemaMethods) {
		return false
	}
	own := schemaText(t)
	for i := range numFields(t) {
		f := t.Field(i)
		if lender := indirect(f.Type); f.Anonymous && implementsAny(lender, schemaMethods) &&
			schemaText(lender) == own {
			return false
		}
	}
	return true
}

func numFields(t reflect.Type) int {
	if t.Kind() != reflect.Struct {
		return 0
	}
	return t.NumField()
}

// schemaText calls the method JSONSchema on a zero value.
func schemaText(t reflect.Type) string {
	switch v := reflect.New(t).Interface().(type) {
	case interface{ JSONSchema() []byte }:
		return string(v.JSONSchema())
	case interface{ JSONSchema() *jsonschema.Schema }:
		text, err := json.Marshal(v.JSONSchema())
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	return ""
}

func (g *generator) customSchema(t reflect.Type, where, base string) (object, bool) {
	if implementsAny(t, otherMethods) {
		g.fault(where, "has a method JSONSchemaExtend, JSONSchemaAlias or JSONSchemaProperty, which are not heeded: "+
			"give it JSONSchema instead")
	}
	if !hasSchema(t) {
		return nil, false
	}
	return g.foreign([]byte(schemaText(t)), where, base), true
}

// foreign reads a schema that somebody else wrote and moves its references to where it will stand.
func (g *generator) foreign(document []byte, where, base string) object {
	switch schema := asDraft7(document, base).(type) {
	case object:
		return schema
	case bool:
		if schema {
			return object{}
		}
		return object{"not": object{}}
	}
	g.fault(where, "its schema is no JSON object")
	return object{}
}

// asDraft7 reads a schema, as invopop or a person writes it, in the words of draft 7. Base is the reference under
// which it will stand.
func asDraft7(document []byte, base string) any {
	value, err := decode(document, MaxDocumentBytes, MaxDocumentDepth)
	if err != nil {
		return nil
	}
	if schema, ok := value.(object); ok {
		delete(schema, "$schema")
		delete(schema, "$id")
	}
	return rewrite(value, base)
}

// rewrite goes through the places where schemas stand.
func rewrite(value any, base string) any {
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			v[i] = rewrite(item, base)
		}
	case object:
		for keyword, inner := range v {
			v[keyword] = rewriteKeyword(keyword, inner, base)
		}
		renameKeywords(v)
	}
	return value
}

func rewriteKeyword(keyword string, value any, base string) any {
	switch keyword {
	case "enum", "const", "default", "examples":
		return value
	case "properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas":
		schemas, _ := value.(object)
		for key, schema := range schemas {
			schemas[key] = rewrite(schema, base)
		}
		return value
	case "$ref":
		reference, _ := value.(string)
		if fragment, local := strings.CutPrefix(reference, "#"); local {
			return base + strings.ReplaceAll(fragment, "/$defs/", "/definitions/")
		}
		return value
	}
	return rewrite(value, base)
}

// renameKeywords turns what 2019-09 and 2020-12 renamed back; what they added stays, and Compile refuses it by name.
func renameKeywords(schema object) {
	if items, ok := schema["prefixItems"]; ok {
		if rest, has := schema["items"]; has {
			schema["additionalItems"] = rest
		}
		schema["items"] = items
		delete(schema, "prefixItems")
	}
	for _, name := range []string{"dependentRequired", "dependentSchemas"} {
		added, ok := schema[name].(object)
		if !ok {
			continue
		}
		dependencies, _ := schema["dependencies"].(object)
		if dependencies == nil {
			dependencies = object{}
		}
		for key, value := range added {
			dependencies[key] = value
		}
		schema["dependencies"] = dependencies
		delete(schema, name)
	}
	if definitions, ok := schema["$defs"]; ok {
		schema["definitions"] = definitions
		delete(schema, "$defs")
	}
}
