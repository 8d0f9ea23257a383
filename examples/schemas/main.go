// Schemas shows how the contract of an order evolves: 1.0, which the struct gives, 1.1, which adds
// an optional property and passes, and 2.0, which drops one and changes a type, and is refused with
// the reasons. Publishing is held to the contract, and a consumer brings orders of all versions to
// the newest struct. It starts a throwaway PostgreSQL.
//
//	go run ./examples/schemas
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
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

// Orders checks each state against the version that it names, in the registry of the database that it is published to.
var Orders = events.Define("order", func(o Order) string { return strconv.Itoa(o.ID) },
	events.Config{Validator: schema.Validator{}, SchemaVersion: "1.1"})

// orders brings orders of every version to the newest struct.
var orders = schema.Upcast[Order]("1.1",
	schema.From("1.0", func(old OrderV1) (Order, error) {
		notes := "from before there were notes"
		return Order{OrderV1: old, Notes: &notes}, nil
	}),
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		return err
	}
	if err := evolve(ctx, out, schema.NewRegistry(box)); err != nil {
		return err
	}
	if err := publish(ctx, out, box); err != nil {
		return err
	}
	return consume(out)
}

// evolve registers the versions, as a deployment does before its code runs.
func evolve(ctx context.Context, out io.Writer, registry *schema.Registry) error {
	if err := registry.Register(ctx, "order", "1.0", schema.MustFor[OrderV1](), schema.BackwardTransitive); err != nil {
		return err
	}
	if err := registry.Register(ctx, "order", "1.1", schema.MustFor[Order]()); err != nil {
		return err
	}
	fmt.Fprintln(out, "1.1 is compatible with 1.0")

	err := registry.Register(ctx, "order", "2.0", schema.MustFor[BrokenOrder]())
	var incompatible *schema.CompatibilityError
	if !errors.As(err, &incompatible) {
		return fmt.Errorf("2.0 should be refused: %w", err)
	}
	fmt.Fprintln(out, "2.0 is refused:")
	for _, problem := range incompatible.Problems {
		fmt.Fprintf(out, "  against %s: %q %s: %s\n", problem.Old, problem.Path, problem.Rule, problem.Why)
		fmt.Fprintf(out, "    %s\n", problem.Mend)
	}
	return nil
}

// publish is refused what breaks the contract; its transaction goes on.
func publish(ctx context.Context, out io.Writer, box *outbox.Box) error {
	return box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Orders.Publish(ctx, tx, Order{OrderV1: OrderV1{ID: 42, Status: "lost", Total: 59.99}})
		var invalid *schema.ValidationError
		if !errors.As(err, &invalid) {
			return fmt.Errorf("a lost order should be refused: %w", err)
		}
		fmt.Fprintln(out, "not published:", invalid.Violations[0])
		_, err = Orders.Publish(ctx, tx, Order{OrderV1: OrderV1{ID: 42, Status: "open", Total: 59.99}})
		return err
	})
}

// consume reads payloads whatever their version.
func consume(out io.Writer) error {
	order, err := orders.Decode("1.0", []byte(`{"id": 42, "status": "open", "total": 59.99}`))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "order %d: %s\n", order.ID, *order.Notes)
	return nil
}
