package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"github.com/strunk-go/strunk/schema"
)

type Order struct {
	ID       string    `json:"id" jsonschema:"format=uuid"`
	Status   string    `json:"status" jsonschema:"enum=open,enum=shipped"`
	Total    float64   `json:"total" jsonschema:"minimum=0"`
	PlacedAt time.Time `json:"placed_at"`
	Notes    *string   `json:"notes,omitempty" jsonschema:"maxLength=500"`
}

func ExampleFor() {
	document, err := schema.For[Order]()
	if err != nil {
		panic(err)
	}
	fmt.Println(document)
	// Output:
	// {
	//   "$schema": "http://json-schema.org/draft-07/schema#",
	//   "properties": {
	//     "id": {
	//       "format": "uuid",
	//       "type": "string"
	//     },
	//     "notes": {
	//       "maxLength": 500,
	//       "type": "string"
	//     },
	//     "placed_at": {
	//       "format": "date-time",
	//       "type": "string"
	//     },
	//     "status": {
	//       "enum": [
	//         "open",
	//         "shipped"
	//       ],
	//       "type": "string"
	//     },
	//     "total": {
	//       "minimum": 0,
	//       "type": "number"
	//     }
	//   },
	//   "required": [
	//     "id",
	//     "placed_at",
	//     "status",
	//     "total"
	//   ],
	//   "type": "object"
	// }
}

// Cents writes itself as text, and says so.
type Cents int64

func (c Cents) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `"%d.%02d"`, c/100, c%100), nil
}

func (Cents) JSONSchema() []byte {
	return []byte(`{"type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$"}`)
}

func ExampleFor_customType() {
	document, err := schema.For[struct {
		Price Cents `json:"price"`
	}]()
	if err != nil {
		panic(err)
	}
	contract, err := schema.Compile(document)
	if err != nil {
		panic(err)
	}
	fmt.Println(contract.Validate([]byte(`{"price": "12.50"}`)))
	fmt.Println(contract.Validate([]byte(`{"price": 12.5}`)))
	// Output:
	// <nil>
	// strunk/schema: invalid payload: /price type: must be string, not number
}

func ExampleSchema_Validate() {
	contract, err := schema.Compile([]byte(`{
		"properties": {
			"id":     {"type": "integer"},
			"status": {"type": "string"},
			"total":  {"type": "number", "minimum": 0}
		},
		"required": ["id", "status", "total"]
	}`))
	if err != nil {
		panic(err)
	}
	err = contract.Validate([]byte(`{"id": "42", "total": -1}`))
	var invalid *schema.ValidationError
	if errors.As(err, &invalid) {
		for _, violation := range invalid.Violations {
			fmt.Println(violation)
		}
	}
	// Output:
	// (root) required: lacks the property "status"
	// /id type: must be integer, not string
	// /total minimum: must be at least 0
}

func ExampleCompile_refused() {
	_, err := schema.Compile([]byte(`{"properties": {"tags": {"type": "array", "prefixItems": [{"type": "string"}]}}}`))
	fmt.Println(strings.ReplaceAll(err.Error(), ": ", ":\n"))
	// Output:
	// strunk/schema:
	// invalid schema:
	// /properties/tags prefixItems:
	// would not be enforced:
	// draft 7 writes a list of schemas under items, and the rest under additionalItems
}

func ExampleCheck() {
	v1 := schema.Revision{Version: "1.0", Document: []byte(`{
		"properties": {"id": {"type": "integer"}, "total": {"type": "number"}},
		"required": ["id", "total"]
	}`)}
	v2 := schema.Revision{Version: "2.0", Document: []byte(`{
		"properties": {"id": {"type": "string"}, "notes": {"type": "string"}},
		"required": ["id"]
	}`)}
	err := schema.Check(v1, v2, schema.Backward)
	var incompatible *schema.CompatibilityError
	if errors.As(err, &incompatible) {
		for _, problem := range incompatible.Problems {
			fmt.Printf("%q %s: %s\n  %s\n", problem.Path, problem.Rule, problem.Why, problem.Mend)
		}
	}
	// Output:
	// "" required: 2.0 no longer requires the property "total", which 1.0 does
	//   keep it required, for readers rely on it
	// "/properties/id" type: 2.0 no longer accepts integer, which 1.0 does
	//   keep the type, and add a property of another name for the new one
}

func ExampleStrict() {
	open := schema.Revision{Version: "1.0", Document: []byte(`{"type": "object"}`)}
	notes := schema.Revision{Version: "1.1",
		Document: []byte(`{"type": "object", "properties": {"notes": {"type": "string"}}}`)}
	fmt.Println(schema.Check(open, notes, schema.Backward))
	err := schema.Check(open, notes, schema.Backward, schema.Strict())
	fmt.Println(errors.Is(err, schema.ErrIncompatible))
	// Output:
	// <nil>
	// true
}

type (
	CustomerV1 struct{ Name string }
	Customer   struct{ First, Last string }
)

var customers = schema.Upcast[Customer]("2.0",
	schema.From("1.0", func(old CustomerV1) (Customer, error) {
		first, last, _ := strings.Cut(old.Name, " ")
		return Customer{First: first, Last: last}, nil
	}),
)

func ExampleUpcast() {
	old, err := customers.Decode("1.3", json.RawMessage(`{"Name": "Ada Lovelace"}`))
	fmt.Println(old.Last, err)
	_, err = customers.Decode("2.0", json.RawMessage(`{"First": 1}`))
	var undecodable *schema.UndecodableError
	if errors.As(err, &undecodable) {
		fmt.Printf("set aside: %s\n", undecodable.Raw)
	}
	// Output:
	// Lovelace <nil>
	// set aside: {"First": 1}
}

func ExampleCheckDir() {
	// In a test of yours this is os.DirFS("schemas").
	files := fstest.MapFS{
		"order/1.0.json": {Data: []byte(`{"type": "object", "required": ["id"]}`)},
		"order/1.1.json": {Data: []byte(`{"type": "object"}`)},
	}
	err := schema.CheckDir(files, schema.BackwardTransitive)
	fmt.Println(strings.ReplaceAll(err.Error(), ": ", ":\n"))
	// Output:
	// order/1.1.json:
	// strunk/schema:
	// incompatible:
	// version 1.1 (backward-transitive):
	// (root) required:
	// 1.1 no longer requires the property "id", which 1.0 does:
	// keep it required, for readers rely on it
}
