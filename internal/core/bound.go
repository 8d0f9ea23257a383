package core

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"strings"
)

// Binder is what every public type that Run accepts has. Package outbox embeds it in its Binding under an unexported
// name: it stands in no documentation, and nobody else can implement it.
type Binder interface {
	Binding(Seal) Binding
}

// Bound is the Binder that public types embed under an unexported name, so that their users see no method which they
// cannot call. The zero value binds nothing.
type Bound struct {
	bind func() Binding
}

// NewBound returns the Bound that makes a binding for each Run.
func NewBound(bind func() Binding) Bound { return Bound{bind} }

// Binding implements Binder; nil for the zero value.
func (b Bound) Binding(Seal) Binding {
	if b.bind == nil {
		return nil
	}
	return b.bind()
}

// BindingOf returns the binding that b makes, or why there is none: b is nil, or the zero value of its type.
func BindingOf(b Binder) (Binding, error) {
	if !isNil(b) {
		if binding := b.Binding(Seal{}); binding != nil {
			return binding, nil
		}
	}
	return nil, unusable(b)
}

// isNil reports whether v is nil, or a nil pointer.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

// unusable says that v is nil, or the zero value of its type.
func unusable(v any) error {
	if v == nil {
		return errors.New("is nil")
	}
	_, name := typeName(v)
	return fmt.Errorf("is the zero %s, which is unusable: make it with the function that its documentation names", name)
}

// typeName returns the package and the name of a type of ours, without its type parameters.
func typeName(v any) (pkg, name string) {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, _, _ = strings.Cut(t.Name(), "[")
	return path.Base(t.PkgPath()), name
}

// Extension is what every box-wide setting of another package has, as Binder is for bindings.
type Extension interface {
	Extension(Seal)
}

// Extends is the Extension that such settings embed under an unexported name.
type Extends struct{}

// Extension implements Extension.
func (Extends) Extension(Seal) {}

// extensionKeys are set by AddExtension, by the type of the setting.
var extensionKeys = map[reflect.Type]func(any) (key, value any){}

// AddExtension tells what a box keeps of a setting of type T, and under which key. Packages call it when they are
// initialised.
func AddExtension[T Extension](keep func(T) (key, value any)) {
	extensionKeys[reflect.TypeFor[T]()] = func(ext any) (key, value any) { return keep(ext.(T)) }
}

// ExtensionOf returns what a box keeps of a setting; ok is false where its type is none of ours.
func ExtensionOf(ext Extension) (key, value any, ok bool) {
	v := reflect.ValueOf(ext)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	keep, ok := extensionKeys[v.Type()]
	if !ok {
		return nil, nil, false
	}
	key, value = keep(v.Interface())
	return key, value, true
}
