package schema

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// field is one property of a struct as encoding/json sees it.
type field struct {
	reflect.StructField
	name     string
	tagged   bool
	index    []int
	optional bool // may be left out
	noNull   bool // is left out instead of being null
	quoted   bool // has the option string, and a type that heeds it
}

// jsonFields lists the fields of a struct by the rules of encoding/json: embedded structs are promoted, the
// shallowest name wins, among those the tagged one, and two that are equal hide each other.
func jsonFields(t reflect.Type) []field {
	var all []field
	level := []embedded{{typ: t}}
	seen := map[reflect.Type]bool{}
	for len(level) > 0 {
		var next []embedded
		counts := map[reflect.Type]int{}
		for _, e := range level {
			counts[e.typ]++
		}
		for _, e := range level {
			if seen[e.typ] {
				continue
			}
			seen[e.typ] = true
			fields, inner := e.read()
			all = append(all, fields...)
			if counts[e.typ] > 1 { // the same struct twice on one level hides itself
				all = append(all, fields...)
			}
			next = append(next, inner...)
		}
		level = next
	}
	return dominant(all)
}

// embedded is a struct whose fields are promoted.
type embedded struct {
	typ      reflect.Type
	index    []int
	optional bool // lies behind a pointer, which may be nil
}

func (e embedded) read() (fields []field, inner []embedded) {
	for i := range e.typ.NumField() {
		f := e.typ.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !isVisible(f) {
			continue
		}
		index := append(slices.Clone(e.index), i)
		if promoted := indirect(f.Type); f.Anonymous && !isName(name) && promoted.Kind() == reflect.Struct {
			inner = append(inner, embedded{promoted, index, e.optional || f.Type.Kind() == reflect.Pointer})
			continue
		}
		fields = append(fields, newField(f, name, options, index, e.optional))
	}
	return fields, inner
}

func newField(f reflect.StructField, name, options string, index []int, optional bool) field {
	empty, zero := hasOption(options, "omitempty"), hasOption(options, "omitzero")
	made := field{StructField: f, name: name, tagged: isName(name), index: index, optional: optional || empty || zero}
	made.noNull = empty || zero && !(f.Type.Kind() != reflect.Pointer && decidesZero(f.Type))
	if !made.tagged {
		made.name = f.Name
	}
	made.quoted = hasOption(options, "string") && heedsString(indirect(f.Type))
	return made
}

// decidesZero: with a method of its own, a type may say that its nil is not zero, and is written.
func decidesZero(t reflect.Type) bool {
	isZeroer := reflect.TypeFor[interface{ IsZero() bool }]()
	return t.Implements(isZeroer) || reflect.PointerTo(t).Implements(isZeroer)
}

func indirect(t reflect.Type) reflect.Type {
	if t.Name() == "" && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// isVisible: unexported structs that are embedded still promote their exported fields.
func isVisible(f reflect.StructField) bool {
	return f.IsExported() || f.Anonymous && indirect(f.Type).Kind() == reflect.Struct
}

func heedsString(t reflect.Type) bool {
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Float64 || t.Kind() == reflect.String
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

// isName reports whether encoding/json takes the name of a tag.
func isName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) < 0
}

// dominant keeps one field of each name, or none, in the order of the struct.
func dominant(fields []field) []field {
	byName := map[string][]field{}
	for _, f := range fields {
		byName[f.name] = append(byName[f.name], f)
	}
	var kept []field
	for _, same := range byName {
		slices.SortStableFunc(same, moreDominant)
		if len(same) == 1 || moreDominant(same[0], same[1]) != 0 {
			kept = append(kept, same[0])
		}
	}
	slices.SortFunc(kept, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return kept
}

func moreDominant(a, b field) int {
	return cmp.Or(cmp.Compare(len(a.index), len(b.index)), cmp.Compare(rank(a), rank(b)))
}

func rank(f field) int {
	if f.tagged {
		return 0
	}
	return 1
}
