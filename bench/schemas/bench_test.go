// Package schemas measures validation beside the two libraries that were candidates for it, in one run.
package schemas

import (
	"bytes"
	"encoding/json"
	"testing"

	peer "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/xeipuuv/gojsonschema"

	"github.com/strunk-go/strunk/schema"
)

type line struct {
	SKU   string `json:"sku"`
	Count int    `json:"count" jsonschema:"enum=1,enum=2,enum=3,enum=4,enum=5"`
}

// order has 20 fields.
type order struct {
	ID         string            `json:"id" jsonschema:"minLength=1"`
	Number     int64             `json:"number" jsonschema:"minimum=1"`
	Status     string            `json:"status" jsonschema:"enum=open,enum=paid,enum=shipped,enum=done"`
	Customer   string            `json:"customer" jsonschema:"minLength=1,maxLength=100"`
	Email      string            `json:"email" jsonschema:"format=email"`
	Phone      *string           `json:"phone"`
	Street     string            `json:"street"`
	City       string            `json:"city"`
	Zip        string            `json:"zip" jsonschema:"pattern=^[0-9]{5}$"`
	Country    string            `json:"country" jsonschema:"minLength=2,maxLength=2"`
	Currency   string            `json:"currency" jsonschema:"enum=EUR,enum=USD"`
	Net        float64           `json:"net" jsonschema:"minimum=0"`
	Tax        float64           `json:"tax" jsonschema:"minimum=0"`
	Total      float64           `json:"total" jsonschema:"minimum=0"`
	Paid       bool              `json:"paid"`
	CreatedAt  string            `json:"created_at" jsonschema:"format=date-time"`
	ShippedAt  *string           `json:"shipped_at"`
	Tags       []string          `json:"tags"`
	Attributes map[string]string `json:"attributes"`
	Lines      []line            `json:"lines"`
}

func payload(b *testing.B, lines int) []byte {
	phone := "+49 30 1234"
	o := order{
		ID: "o-1", Number: 42, Status: "paid", Customer: "Ada Lovelace", Email: "ada@example.com", Phone: &phone,
		Street: "Main Street 1", City: "Berlin", Zip: "10115", Country: "DE", Currency: "EUR", Net: 50.41, Tax: 9.58,
		Total: 59.99, Paid: true, CreatedAt: "2026-01-02T03:04:05Z", Tags: []string{"new"},
		Attributes: map[string]string{"source": "mail"},
	}
	for i := range lines {
		o.Lines = append(o.Lines, line{"A-1", i%5 + 1})
	}
	text, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

func BenchmarkValidate(b *testing.B) {
	document := schema.MustFor[order]()
	for name, lines := range map[string]int{"order": 0, "20 lines": 20} {
		text := payload(b, lines)
		b.Run(name+"/strunk", func(b *testing.B) { strunk(b, document, text) })
		b.Run(name+"/santhosh-tekuri", func(b *testing.B) { santhosh(b, document, text) })
		b.Run(name+"/gojsonschema", func(b *testing.B) { xeipuuv(b, document, text) })
	}
}

func strunk(b *testing.B, document schema.Document, text []byte) {
	compiled, err := schema.Compile(document)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := compiled.Validate(text); err != nil {
			b.Fatal(err)
		}
	}
}

func santhosh(b *testing.B, document schema.Document, text []byte) {
	compiler := peer.NewCompiler()
	compiler.AssertFormat()
	parsed, err := peer.UnmarshalJSON(bytes.NewReader(document))
	if err == nil {
		err = compiler.AddResource("mem://order.json", parsed)
	}
	if err != nil {
		b.Fatal(err)
	}
	compiled, err := compiler.Compile("mem://order.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		value, err := peer.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		if err := compiled.Validate(value); err != nil {
			b.Fatal(err)
		}
	}
}

func xeipuuv(b *testing.B, document schema.Document, text []byte) {
	compiled, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(document))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		result, err := compiled.Validate(gojsonschema.NewBytesLoader(text))
		if err != nil || !result.Valid() {
			b.Fatal(err, result)
		}
	}
}
