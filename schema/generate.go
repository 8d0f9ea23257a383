package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Option changes what [For] writes.
type Option interface{ applyFor(*generator) }

type option func(*generator)

func (o option) applyFor(g *generator) { o(g) }

// Closed forbids properties that the Go structs don't have. Without it objects are open, which is what lets an older
// reader accept a newer document: close a contract only when it never grows.
func Closed() Option {
	return option(func(g *generator) { g.closed = true })
}

// TypeAs gives the schema of a type that has none of its own and can't be changed, such as a decimal of another
// library. The document is one of draft 7; it is asked about what encoding/json writes for V, wherever V stands.
func TypeAs[V any](document []byte) Option {
	return option(func(g *generator) { g.given[reflect.TypeFor[V]()] = document })
}

// For writes the contract of T: a document of draft 7 that every value which encoding/json writes for T passes, unless
// a jsonschema tag asks for more. The same type gives the same text, byte by byte.
//
// Names, embedding, omitempty, omitzero, string and - are those of the json tags. A property is required unless it
// may be left out; pointers, slices and maps may be null unless omitempty or omitzero keeps their null out. The
// tags of github.com/invopop/jsonschema add the rest (`jsonschema:"format=email,minLength=3,enum=a,enum=b"`,
// jsonschema_description, jsonschema_extras); one that is misspelt or doesn't fit the type is an error.
//
// A type with its own MarshalJSON may write anything, so its schema accepts anything; with MarshalText it is a string.
// Such a type says more by a method JSONSchema() *jsonschema.Schema (of invopop), or JSONSchema() []byte, which needs
// no import, and a type of another library by [TypeAs].
//
// The error is an [ErrUnsupportedType] with the Go path to every fault.
func For[T any](options ...Option) (document Document, err error) {
	err = safely(ErrUnsupportedType, func() error {
		document, err = generate(reflect.TypeFor[T](), options)
		return err
	})
	return document, err
}

// MustFor is [For] for package variables: it panics on an error.
func MustFor[T any](options ...Option) Document {
	document, err := For[T](options...)
	if err != nil {
		panic(err)
	}
	return document
}

// object is a schema on its way to JSON.
type object = map[string]any

// generator writes the schema of one type.
type generator struct {
	closed      bool
	given       map[reflect.Type][]byte
	root        reflect.Type
	names       map[reflect.Type]string // of the definitions
	definitions object
	faults      []error
}

func generate(root reflect.Type, options []Option) (Document, error) {
	g := &generator{given: map[reflect.Type][]byte{}, root: root, names: map[reflect.Type]string{},
		definitions: object{}}
	for _, option := range options {
		option.applyFor(g)
	}
	document := g.rootSchema()
	document["$schema"] = "http://json-schema.org/draft-07/schema#"
	if len(g.definitions) > 0 {
		document["definitions"] = g.definitions
	}
	if len(g.faults) > 0 {
		return nil, errors.Join(g.faults...)
	}
	text, err := json.Marshal(document)
	if err == nil {
		_, err = Compile(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v: its tags or methods make no schema: %w", ErrUnsupportedType, root, err)
	}
	return text, nil
}

// rootSchema writes the root type in place, so that the document begins with what it is about.
func (g *generator) rootSchema() object {
	if !isDefinition(g.root) || g.given[g.root] != nil {
		return g.nullable(g.typeSchema(g.root, g.root.String()))
	}
	schema, canBeNull := g.written(g.root, g.root.String(), "#")
	return g.nullable(schema, canBeNull)
}

func (g *generator) fault(where, why string) {
	g.faults = append(g.faults, fmt.Errorf("%w: %s: %s", ErrUnsupportedType, where, why))
}

// nullable lets null pass as well.
func (g *generator) nullable(schema object, canBeNull bool) object {
	name, typed := schema["type"].(string)
	switch {
	case !canBeNull || len(schema) == 0 || name == "null":
		return schema
	case typed && schema["const"] == nil && schema["anyOf"] == nil && schema["oneOf"] == nil:
		schema["type"] = []any{name, "null"}
		withNull(schema)
		return schema
	}
	return object{"anyOf": []any{schema, object{"type": "null"}}}
}

// withNull adds null to the enum of a schema whose type has it.
func withNull(schema object) {
	types, _ := schema["type"].([]any)
	if values, ok := schema["enum"].([]any); ok && slices.Contains(types, any("null")) {
		schema["enum"] = append(slices.Clone(values), nil)
	}
}
