package schema

import (
	"testing"
	"time"
)

// benchOrder has 20 fields.
type benchOrder struct {
	ID         uuidLike          `json:"id"`
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
	CreatedAt  time.Time         `json:"created_at"`
	ShippedAt  *time.Time        `json:"shipped_at"`
	Tags       []string          `json:"tags"`
	Attributes map[string]string `json:"attributes"`
	Lines      []benchLine       `json:"lines"`
}

type benchLine struct {
	SKU   string  `json:"sku"`
	Count int     `json:"count" jsonschema:"minimum=1"`
	Price float64 `json:"price"`
}

func benchPayload() []byte {
	phone, now := "+49 30 1234", time.Now()
	return mustJSON(benchOrder{
		Number: 42, Status: "paid", Customer: "Ada Lovelace", Email: "ada@example.com", Phone: &phone,
		Street: "Main Street 1", City: "Berlin", Zip: "10115",
		Country: "DE", Currency: "EUR", Net: 50.41, Tax: 9.58, Total: 59.99, Paid: true, CreatedAt: now,
		ShippedAt: &now, Tags: []string{"new", "web"},
		Attributes: map[string]string{"source": "mail"}, Lines: []benchLine{{"A-1", 2, 20}, {"B-2", 1, 19.99}},
	})
}

func BenchmarkValidate(b *testing.B) {
	schema, err := Compile(MustFor[benchOrder]())
	if err != nil {
		b.Fatal(err)
	}
	payload := benchPayload()
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := schema.Validate(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	document := MustFor[benchOrder]()
	for b.Loop() {
		if _, err := Compile(document); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFor(b *testing.B) {
	for b.Loop() {
		if _, err := For[benchOrder](); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	old := Revision{"1.0", MustFor[benchOrder]()}
	next := Revision{"1.1", MustFor[struct {
		benchOrder
		Note string `json:"note,omitempty"`
	}]()}
	for b.Loop() {
		if err := Check(old, next, Full); err != nil {
			b.Fatal(err)
		}
	}
}
