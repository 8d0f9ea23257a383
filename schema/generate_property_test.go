package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The palette: types with all that encoding/json treats in a way of its own.
type (
	uuidLike [16]byte
	ulidLike [16]byte
	level    int             // writes text
	ptrText  struct{ A int } // writes text only where it can be addressed
	ptrJSON  struct{ A int } // writes JSON only where it can be addressed
	anything struct{ A int } // writes JSON of its own
	nameless string
	tree     struct {
		Value    int
		Children []*tree
		ByName   map[string]tree `json:"by_name,omitempty"`
	}
	listOfSelf []listOfSelf
	mapOfSelf  map[string]mapOfSelf
	base       struct {
		ID   int    `json:"id"`
		Name string `json:"name,omitempty"`
	}
	shadow struct {
		base
		ID string `json:"id"` // hides base's
	}
	viaPointer struct {
		*base
		Extra *string
	}
	clash struct { // A is on one level twice, and vanishes
		left
		right
	}
	left           struct{ A, B int }
	right          struct{ A, C int }
	pair[A, B any] struct {
		First  A
		Second *B
	}
	quoted struct {
		I int         `json:",string"`
		U *uint8      `json:",string"`
		F float64     `json:",string"`
		B bool        `json:"b,string"`
		S nameless    `json:"s,string"`
		N json.Number `json:",string"`
		L level       `json:",string"`
	}
	omitted struct {
		P    **int          `json:"p,omitempty"`
		S    *[]int         `json:"s,omitzero"`
		M    map[string]int `json:"m,omitempty"`
		Z    neverZero      `json:"z,omitzero"`
		T    time.Time      `json:"t,omitzero"`
		A    any            `json:"a,omitempty"`
		Skip func()         `json:"-"`
		//lint:ignore SA5008 what encoding/json makes of such tags is the point
		Dash int `json:"-,"`
		//lint:ignore SA5008 the same
		Odd int `json:"a\"b"` // no name: that of the field counts
	}
	neverZero []int
	keys      struct {
		I map[int]*int
		U map[uint8]string
		T map[uuidLike]bool
		L map[level]nameless
	}
	special struct {
		Raw json.RawMessage
		Num json.Number
		At  time.Time
		D   time.Duration
		B   []byte
		BB  [][]byte
		By  [3]byte
		Bg  *big.Int
		IP  netip.Addr
		URL url.URL
		U   uuidLike
		UL  *ulidLike
		PT  ptrText
		PTP *ptrText
		PJ  ptrJSON
		X   anything
		E   fmt.Stringer
	}
)

func (u uuidLike) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
}
func (u ulidLike) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%X", u[:13]), nil }
func (l level) MarshalText() ([]byte, error)    { return fmt.Appendf(nil, "level-%d", int(l)), nil }
func (p *ptrText) MarshalText() ([]byte, error) { return []byte("text"), nil }
func (p *ptrJSON) MarshalJSON() ([]byte, error) { return []byte(`[1,"x"]`), nil }
func (a anything) MarshalJSON() ([]byte, error) {
	return []byte([]string{`null`, `"x"`, `{}`}[a.A&1]), nil
}
func (neverZero) IsZero() bool { return false }

// palette maps each type to the function that generates its schema.
var palette = map[reflect.Type]func(...Option) (Document, error){}

func inPalette[T any]() { palette[reflect.TypeFor[T]()] = For[T] }

func init() {
	inPalette[tree]()
	inPalette[*tree]()
	inPalette[listOfSelf]()
	inPalette[mapOfSelf]()
	inPalette[shadow]()
	inPalette[viaPointer]()
	inPalette[clash]()
	inPalette[pair[base, pair[int, []string]]]()
	inPalette[quoted]()
	inPalette[omitted]()
	inPalette[keys]()
	inPalette[special]()
	inPalette[[]special]()
	inPalette[*special]()
	inPalette[map[string]*omitted]()
	inPalette[any]()
	inPalette[json.RawMessage]()
	inPalette[[]byte]()
	inPalette[***int]()
}

// everyValuePasses: what encoding/json writes for a type passes the type's schema, closed or open.
func everyValuePasses(t *rapid.T) {
	types := sortedTypes()
	typ := types[rapid.IntRange(0, len(types)-1).Draw(t, "type")]
	generate := palette[typ]
	if rapid.Bool().Draw(t, "made") {
		typ = randomType(t, 3)
		generate = func(options ...Option) (Document, error) { return generateType(typ, options) }
	}
	var options []Option
	if rapid.Bool().Draw(t, "closed") {
		options = append(options, Closed())
	}
	document, err := generate(options...)
	if err != nil {
		t.Fatalf("%v: %v", typ, err)
	}
	schema, err := Compile(document)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		value := reflect.New(typ)
		fill(t, value.Elem(), 3)
		for _, v := range []any{value.Interface(), value.Elem().Interface()} { // by pointer, and not addressable
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(text); err != nil {
				t.Fatalf("%v: %s\n%v\n%v", typ, text, err, document)
			}
		}
	}
}

func generateType(t reflect.Type, options []Option) (Document, error) { return generate(t, options) }

func sortedTypes() []reflect.Type {
	byName := map[string]reflect.Type{}
	for t := range palette {
		byName[t.String()] = t
	}
	var types []reflect.Type
	for _, name := range sortedKeys(byName) {
		types = append(types, byName[name])
	}
	return types
}

var scalarTypes = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](),
	reflect.TypeFor[float32](),
	reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[any](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[json.Number](),
	reflect.TypeFor[json.RawMessage](), reflect.TypeFor[uuidLike](), reflect.TypeFor[level](),
	reflect.TypeFor[ptrText](), reflect.TypeFor[tree](),
}

// randomType makes a type of structs, pointers, slices, arrays and maps.
func randomType(t *rapid.T, depth int) reflect.Type {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if depth == 0 || kind == 0 {
		return pick(t, scalarTypes)
	}
	switch kind {
	case 1:
		return reflect.PointerTo(randomType(t, depth-1))
	case 2:
		return reflect.SliceOf(randomType(t, depth-1))
	case 3:
		return reflect.ArrayOf(rapid.IntRange(0, 2).Draw(t, "len"), randomType(t, depth-1))
	case 4:
		return reflect.MapOf(pick(t, []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int16](),
			reflect.TypeFor[level]()}), randomType(t, depth-1))
	}
	return reflect.StructOf(randomFields(t, depth))
}

func randomFields(t *rapid.T, depth int) (fields []reflect.StructField) {
	for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
		name := fmt.Sprintf("F%d", i)
		options := pick(t, []string{"", ",omitempty", ",omitzero", ",string", ",omitempty,string"})
		tag := pick(t, []string{"", "json:\"" + options + "\"", "json:\"f" + fmt.Sprint(i) + options + "\"",
			`json:"same"`, `json:"-"`})
		fields = append(fields, reflect.StructField{Name: name, Type: randomType(t, depth-1),
			Tag: reflect.StructTag(tag)})
	}
	return fields
}

// fill draws a value of any type.
func fill(t *rapid.T, v reflect.Value, depth int) {
	if !v.CanSet() {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "time"),
			rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	case *json.Number:
		*x = json.Number(pick(t, []string{"", "0", "-1.5e3", "9007199254740993"}))
	case *json.RawMessage:
		*x = pick(t, []json.RawMessage{nil, json.RawMessage(`{"a":[1]}`), json.RawMessage(`"x"`)})
	case *big.Int:
		x.SetInt64(rapid.Int64().Draw(t, "big"))
	case *any:
		*x = pick(t, []any{nil, 1, "x", []int{1}, map[string]any{"a": nil}})
	default:
		fillKind(t, v, depth)
	}
}

func fillKind(t *rapid.T, v reflect.Value, depth int) {
	empty := depth <= 0 || rapid.IntRange(0, 2).Draw(t, "empty") == 0
	switch kind := v.Kind(); {
	case kind == reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case v.CanInt():
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case v.CanUint():
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case v.CanFloat():
		v.SetFloat(float64(rapid.Float32().Filter(func(f float32) bool { return f == f && f-f == 0 }).Draw(t, "float")))
	case kind == reflect.String:
		v.SetString(strings.ReplaceAll(rapid.String().Draw(t, "string"), "\x00", ""))
	case kind == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), depth-1)
		}
	case kind == reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1)
		}
	case empty:
	case kind == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), depth-1)
	case kind == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 2).Draw(t, "len"), 2))
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1)
		}
	case kind == reflect.Map:
		fillMap(t, v, depth)
	}
}

func fillMap(t *rapid.T, v reflect.Value, depth int) {
	v.Set(reflect.MakeMap(v.Type()))
	for range rapid.IntRange(0, 2).Draw(t, "len") {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, depth-1)
		fill(t, value, depth-1)
		v.SetMapIndex(key, value)
	}
}

func TestEveryValuePasses(t *testing.T) { rapid.Check(t, everyValuePasses) }

func FuzzGenerate(f *testing.F) { drawFrom(f, everyValuePasses) }
