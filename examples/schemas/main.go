// Schemas shows how the contract of an order evolves: 1.0, which the struct gives, 1.1, which adds an optional
// property and passes, and 2.0, which drops one and changes a type, and is refused with the reasons. A consumer
// brings orders of all versions to the newest struct. It needs no database.
//
//	go run ./examples/schemas
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/strunk-go/strunk/schema"
)

// OrderV1 is what was published at first.
type OrderV1 struct {
	ID     int     `json:"id" jsonschema:"minimum=1"`
	Status string  `json:"status" jsonschema:"enum=open,enum=shipped"`
	Total  float64 `json:"total"`
}

// Order adds notes, which older orders don't have.
type Order struct {
	OrderV1
	Notes *string `json:"notes,omitempty"`
}

// BrokenOrder changes what consumers rely on.
type BrokenOrder struct {
	ID     string `json:"id"`
	Status string `json:"status" jsonschema:"enum=open,enum=shipped"`
}

// orders brings orders of every version to the newest struct.
var orders = schema.Upcast[Order]("1.1",
	schema.From("1.0", func(old OrderV1) (Order, error) {
		notes := "from before there were notes"
		return Order{OrderV1: old, Notes: &notes}, nil
	}),
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer) error {
	v10 := schema.Revision{Version: "1.0", Document: schema.MustFor[OrderV1]()}
	v11 := schema.Revision{Version: "1.1", Document: schema.MustFor[Order]()}
	v20 := schema.Revision{Version: "2.0", Document: schema.MustFor[BrokenOrder]()}

	if err := schema.Check(v10, v11, schema.Full); err != nil {
		return err
	}
	fmt.Fprintln(out, "1.1 is compatible with 1.0")

	err := schema.CheckHistory([]schema.Revision{v10, v11}, v20, schema.BackwardTransitive)
	var incompatible *schema.CompatibilityError
	if !errors.As(err, &incompatible) {
		return fmt.Errorf("2.0 should be refused: %w", err)
	}
	fmt.Fprintln(out, "2.0 is refused:")
	for _, problem := range incompatible.Problems {
		fmt.Fprintf(out, "  against %s: %s\n", problem.Old, problem)
	}
	return consume(out, v11)
}

// consume checks payloads and reads them, whatever their version.
func consume(out io.Writer, newest schema.Revision) error {
	contract, err := schema.Compile(newest.Document)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, contract.Validate([]byte(`{"id": 0, "status": "lost", "total": 59.99}`)))
	order, err := orders.Decode("1.0", []byte(`{"id": 42, "status": "open", "total": 59.99}`))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "order %d: %s\n", order.ID, *order.Notes)
	return nil
}
