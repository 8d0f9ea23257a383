package schema

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
)

// typeSchema writes the schema of a type, null apart, and whether encoding/json may write null for it too. Where is
// the Go path, for errors.
func (g *generator) typeSchema(t reflect.Type, where string) (schema object, canBeNull bool) {
	if t.Kind() == reflect.Pointer && g.given[t] == nil {
		return g.pointerSchema(t, where)
	}
	if isDefinition(t) || g.given[t] != nil {
		return g.definition(t, where)
	}
	return g.written(t, where, "")
}

// pointerSchema follows the pointer: what it points to can be addressed, so methods on the pointer count.
func (g *generator) pointerSchema(t reflect.Type, where string) (object, bool) {
	for seen := 0; t.Kind() == reflect.Pointer; t = t.Elem() {
		if seen++; seen > 100 {
			g.fault(where, "points to itself without end: put a struct between")
			return object{}, true
		}
	}
	schema, _ := g.typeSchema(t, where)
	return schema, true
}

// isDefinition reports whether a type gets a place under definitions: a named one that holds others, maybe itself, or
// that brings a schema of its own.
func isDefinition(t reflect.Type) bool {
	if t.Name() == "" || t == timeType {
		return false
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return hasSchema(t) || !isMarshaler(t)
	}
	return hasSchema(t)
}

func isMarshaler(t reflect.Type) bool {
	return t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) || t.Implements(textMarshaler)
}

// definition writes a type under definitions, once, and returns the reference.
func (g *generator) definition(t reflect.Type, where string) (object, bool) {
	if t == g.root && g.given[t] == nil {
		return object{"$ref": "#"}, canBeNull(t)
	}
	name, known := g.names[t]
	if !known {
		name = g.newName(t)
		g.names[t] = name
		g.definitions[name], _ = g.written(t, t.String(), "#/definitions/"+name)
	}
	return object{"$ref": "#/definitions/" + name}, canBeNull(t)
}

func canBeNull(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Slice
}

// written writes the schema itself. Base is the reference under which it will stand, if any.
func (g *generator) written(t reflect.Type, where, base string) (object, bool) {
	if document, ok := g.given[t]; ok {
		return g.foreign(document, where, base), canBeNull(t)
	}
	if schema, ok := g.customSchema(t, where, base); ok {
		return schema, canBeNull(t)
	}
	if writesEmbeddedTime(t) {
		g.fault(where, "embeds time.Time and inherits its MarshalJSON, so that encoding/json writes the time alone: "+
			"give the field a name, or give the type MarshalJSON and JSONSchema, or use TypeAs")
	}
	switch pointer := reflect.PointerTo(t); {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}, false
	case t == numberType:
		return object{"type": "number"}, false
	case t.Kind() == reflect.Interface, t.Implements(marshaler), pointer.Implements(marshaler):
		return object{}, false
	case t.Implements(textMarshaler):
		return textSchema(t), false
	case pointer.Implements(textMarshaler): // used only where the value can be addressed
		plain, null := g.kindSchema(t, where)
		return object{"anyOf": []any{object{"type": "string"}, g.nullable(plain, null)}}, null
	}
	return g.kindSchema(t, where)
}

// writesEmbeddedTime reports whether a struct is written as the time.Time that it embeds.
func writesEmbeddedTime(t reflect.Type) bool {
	for i := range numFields(t) {
		if f := t.Field(i); f.Anonymous && indirect(f.Type) == timeType && t.Implements(marshaler) {
			text, err := json.Marshal(reflect.New(t).Interface())
			zero, _ := json.Marshal(reflect.Zero(f.Type).Interface())
			return err != nil || bytes.Equal(text, zero)
		}
	}
	return false
}

func (g *generator) kindSchema(t reflect.Type, where string) (object, bool) {
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}, false
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}, false
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return object{"type": "integer", "minimum": 0}, false
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}, false
	case reflect.String:
		return object{"type": "string"}, false
	case reflect.Slice:
		return g.sliceSchema(t, where), true
	case reflect.Array:
		return object{"type": "array", "items": g.itemSchema(t, where), "minItems": t.Len(), "maxItems": t.Len()}, false
	case reflect.Map:
		return g.mapSchema(t, where), true
	case reflect.Struct:
		return g.structSchema(t, where), false
	}
	g.fault(where, fmt.Sprintf("encoding/json can't write a %v: leave it out with `json:\"-\"`", t.Kind()))
	return object{}, false
}

func (g *generator) sliceSchema(t reflect.Type, where string) object {
	if elem := t.Elem(); elem.Kind() == reflect.Uint8 {
		pointer := reflect.PointerTo(elem)
		if !pointer.Implements(marshaler) && !pointer.Implements(textMarshaler) {
			return object{"type": "string", "contentEncoding": "base64"}
		}
	}
	return object{"type": "array", "items": g.itemSchema(t, where)}
}

func (g *generator) itemSchema(t reflect.Type, where string) object {
	return g.nullable(g.typeSchema(t.Elem(), where+"[]"))
}

func (g *generator) mapSchema(t reflect.Type, where string) object {
	schema := object{"type": "object"}
	if value := g.nullable(g.typeSchema(t.Elem(), where+"[]")); len(value) > 0 {
		schema["additionalProperties"] = value
	}
	switch key := t.Key(); {
	case key.Kind() == reflect.String, key.Implements(textMarshaler):
	case key.Kind() >= reflect.Int && key.Kind() <= reflect.Int64:
		schema["propertyNames"] = object{"pattern": "^(0|-?[1-9][0-9]*)$"}
	case key.Kind() >= reflect.Uint && key.Kind() <= reflect.Uintptr:
		schema["propertyNames"] = object{"pattern": "^(0|[1-9][0-9]*)$"}
	default:
		g.fault(where, fmt.Sprintf("encoding/json can't write %v as the key of a map: use text or whole numbers", key))
	}
	return schema
}

// textSchema is a string, and a UUID where the type writes one: 16 bytes alone say nothing, a ULID has them too.
func textSchema(t reflect.Type) object {
	schema := object{"type": "string"}
	if t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8 && writesUUID(t) {
		schema["format"] = "uuid"
	}
	return schema
}

func writesUUID(t reflect.Type) bool {
	value := reflect.New(t).Elem()
	for i := range value.Len() {
		value.Index(i).SetUint(uint64(17 * i))
	}
	is := false
	_ = safely(ErrUnsupportedType, func() error {
		text, err := value.Interface().(encoding.TextMarshaler).MarshalText()
		is = err == nil && uuid.Match(text)
		return nil
	})
	return is
}
