package schema

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What the golden files show.
type (
	goldenOrder struct {
		ID       uuidLike          `json:"id" jsonschema:"title=Number,description=Never reused"`
		Status   string            `json:"status" jsonschema:"enum=open,enum=shipped,default=open"`
		Email    *string           `json:"email" jsonschema:"format=email,maxLength=200"`
		Code     string            `json:"code,omitempty" jsonschema:"pattern=^[A-Z]{2\\,3}$"`
		Total    float64           `json:"total" jsonschema:"minimum=0,multipleOf=0.01"`
		Count    uint32            `json:"count" jsonschema:"exclusiveMaximum=1000"`
		Tags     []string          `json:"tags,omitempty" jsonschema:"minItems=1,uniqueItems=true,enum=a,enum=b"`
		Lines    goldenPage[line]  `json:"lines"`
		Labels   map[string]string `json:"labels"`
		At       time.Time         `json:"at"`
		Money    money             `json:"money"`
		Discount *money            `json:"discount,omitempty"`
		Parent   *goldenOrder      `json:"parent,omitempty"`
		Note     string            `json:"note" jsonschema_description:"a, b and c" jsonschema_extras:"x-owner=sales"`
		Hidden   string            `json:"hidden,omitempty" jsonschema:"-"`
		Phone    string            `json:"phone,omitempty" jsonschema:"oneof_required=phone"`
		Post     string            `json:"post,omitempty" jsonschema:"oneof_required=post"`
	}
	goldenPage[T any] struct {
		Items []T `json:"items"`
		Next  *goldenPage[T]
	}
	line  struct{ Item string }
	money struct{}
)

func (m money) MarshalJSON() ([]byte, error) { return []byte(`"1.00"`), nil }

func (money) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Ref:         "#/$defs/amount",
		Definitions: jsonschema.Definitions{"amount": {Type: "string", Pattern: `^[0-9]+\.[0-9]{2}$`}},
	}
}

func TestGoldenDocuments(t *testing.T) {
	for name, generate := range map[string]func(...Option) (Document, error){
		"order": For[goldenOrder], "tree": For[tree], "quoted": For[quoted], "special": For[special], "keys": For[keys],
	} {
		first, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := generate(); string(again) != string(first) {
			t.Errorf("%s: two texts for one type", name)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, []byte(first.String()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if diff := cmp.Diff(string(want), first.String()+"\n"); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

type (
	lender   struct{ A int }
	borrower struct {
		lender
		B int
	}
	overrider struct {
		lender
		B int
	}
)

func (lender) JSONSchema() []byte    { return []byte(`{"type":"object","required":["A"]}`) }
func (overrider) JSONSchema() []byte { return []byte(`{"type":"object","required":["A","B"]}`) }

func TestForRefusesByMethodAndTag(t *testing.T) {
	for name, document := range map[string]struct {
		generate func(...Option) (Document, error)
		want     string
	}{
		"channel":   {For[struct{ C chan int }], ".C"},
		"function":  {For[struct{ F []func() }], ".F[]"},
		"complex":   {For[complex128], "complex128"},
		"bool keys": {For[map[bool]int], "key of a map"},
		"misspelt tag": {For[struct {
			A string `jsonschema:"minlength=3"`
		}], `"minlength=3" says nothing`},
		"tag of a number": {For[struct {
			A string `jsonschema:"minimum=3"`
		}], `"minimum=3" says nothing`},
		"bad number": {For[struct {
			A int `jsonschema:"minimum=three"`
		}], "needs a number"},
		"bare uniqueItems": {For[struct {
			A []int `jsonschema:"uniqueItems"`
		}], "key=value"},
		"unknown format": {For[struct {
			A string `jsonschema:"format=phone"`
		}], "phone would not be enforced"},
		"bad pattern": {For[struct {
			A string `jsonschema:"pattern=("`
		}], "pattern"},
		"unknown extra": {For[struct {
			A string `jsonschema_extras:"minlen=3"`
		}], "minlen"},
		"extending":  {For[extending], "JSONSchemaExtend"},
		"bad method": {For[badMethod], "no JSON object"},
	} {
		_, err := document.generate()
		if !errors.Is(err, ErrUnsupportedType) || !strings.Contains(err.Error(), document.want) {
			t.Errorf("%s: want %q, got %v", name, document.want, err)
		}
	}
}

type (
	extending struct{ A int }
	badMethod struct{ A int }
)

func (extending) JSONSchemaExtend(*jsonschema.Schema) {}
func (badMethod) JSONSchema() []byte                  { return []byte(`[1]`) }

func TestForFollowsMethods(t *testing.T) {
	for name, c := range map[string]struct {
		generate func(...Option) (Document, error)
		want     string
	}{
		"lent method is not heeded": {For[borrower],
			`{"properties":{"A":{"type":"integer"},"B":{"type":"integer"}},"required":["A","B"],"type":"object"}`},
		"own method is": {For[overrider], `{"required":["A","B"],"type":"object"}`},
		"closed": {func(...Option) (Document, error) { return For[line](Closed()) },
			`{"additionalProperties":false,"properties":{"Item":{"type":"string"}},"required":["Item"],` +
				`"type":"object"}`},
		"given": {func(...Option) (Document, error) {
			return For[[]anything](TypeAs[anything]([]byte(`{"type":"string"}`)))
		},
			`{"definitions":{"anything":{"type":"string"}},"items":{"$ref":"#/definitions/anything"},` +
				`"type":["array","null"]}`},
		"hidden and closed": {func(...Option) (Document, error) {
			return For[struct {
				A int `jsonschema:"-"`
			}](Closed())
		}, `{"additionalProperties":false,"properties":{"A":{}},"type":"object"}`},
		"pointer behind omitempty": {For[struct {
			P **int `json:",omitempty"`
		}], `{"properties":{"P":{"type":["integer","null"]}},"type":"object"}`},
	} {
		got, err := c.generate()
		text := strings.Replace(string(got), `"$schema":"http://json-schema.org/draft-07/schema#",`, "", 1)
		if err != nil || text != c.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, text, c.want)
		}
	}
}

func TestDefinitionsOfOneName(t *testing.T) {
	type line struct{ Other int }
	document, err := For[struct {
		A goldenPage[line]
		B struct{ L line }
	}]()
	if err != nil {
		t.Fatal(err)
	}
	both, err := For[struct {
		Mine  lineAlias
		Local line
	}]()
	if err != nil || !strings.Contains(string(both), `"line":`) || !strings.Contains(string(both), `"schema_line":`) {
		t.Errorf("%v\n%v\n%v", err, document, both)
	}
}

type lineAlias = line

// Fields behind an embedded pointer are there or not; both pass.
func TestEmbeddedPointer(t *testing.T) {
	document := MustFor[viaPointer]()
	schema, err := Compile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []viaPointer{{}, {base: &base{ID: 1, Name: "n"}}} {
		if err := schema.Validate(mustJSON(v)); err != nil {
			t.Error(err, document)
		}
	}
}

func TestDocument(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[2]}`, `{ "b":[2.0], "a":1e0 }`, true}, {`{"a":1}`, `{"a":2}`, false},
		{`9007199254740993`, `9007199254740992`, false},
		{`{`, `{`, true}, {`{`, `{}`, false}, {`{"a":"1"}`, `{"a":1}`, false}, {`[1,2]`, `[2,1]`, false},
	} {
		if got := Document(c.a).Equal([]byte(c.b)); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
	if got := mustJSON(map[string]any{"d": Document(`{"a":1}`),
		"n": Document(nil)}); string(got) != `{"d":{"a":1},"n":null}` {
		t.Errorf("got %s", got)
	}
}
