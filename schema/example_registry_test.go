package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schema"
)

type SendEmail struct {
	To string `json:"to" jsonschema:"format=email"`
}

// Emails holds its tasks to the subject "email-task": "email" may be an entity type, with a contract of its own.
var Emails = queue.Define[SendEmail]("email", queue.Config{Validator: schema.Validator{Subject: "email-task"}})

// The specification's order, in a database.
func ExampleRegistry() {
	ctx := context.Background()
	box, done := openExample(ctx)
	defer done()
	registry := schema.NewRegistry(box)
	err := registry.Register(ctx, "order", "1.0", json.RawMessage(`{
		"properties": {
			"id": {"type": "integer"},
			"status": {"type": "string"},
			"total": {"type": "number"}
		},
		"required": ["id", "status", "total"]
	}`))
	fmt.Println(err)
	err = registry.Register(ctx, "order", "1.1", json.RawMessage(`{
		"properties": {
			"id": {"type": "integer"},
			"status": {"type": "string"},
			"total": {"type": "number"},
			"notes": {"type": "string"}
		},
		"required": ["id", "status", "total"]
	}`))
	fmt.Println(err)
	err = registry.Register(ctx, "order", "2.0", json.RawMessage(`{"properties": {"id": {"type": "string"}}}`))
	fmt.Println(errors.Is(err, schema.ErrIncompatible))
	// Output:
	// <nil>
	// <nil>
	// true
}

// A queue's payloads are checked where they are enqueued.
func ExampleValidator() {
	ctx := context.Background()
	box, done := openExample(ctx)
	defer done()
	if err := schema.NewRegistry(box).Register(ctx, "email-task", "1.0", schema.MustFor[SendEmail]()); err != nil {
		log.Fatal(err)
	}
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Emails.Enqueue(ctx, tx, SendEmail{To: "nobody"})
		fmt.Println(errors.Is(err, schema.ErrInvalidPayload))
		_, err = Emails.Enqueue(ctx, tx, SendEmail{To: "ada@example.com"})
		return err
	})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func openExample(ctx context.Context) (box *outbox.Box, done func()) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	if box, err = outbox.Open(ctx, pool, outbox.Config{}); err != nil {
		log.Fatal(err)
	}
	return box, func() { pool.Close(); server.Close() }
}
