package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Before a deployment: what the new program would set aside, by the tables of the database that it is to work on.
// In a test, outboxtest.RequireDecodes does the same and fails.
func Example_beforeADeployment() {
	ctx := context.Background()
	box, done := openExample(ctx)
	defer done()
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := oldEmails.Enqueue(ctx, tx, json.RawMessage(`{"to": 7}`)); err != nil {
			return err
		}
		_, err := customerStates.Publish(ctx, tx, json.RawMessage(`{"Name": "Ada Lovelace"}`),
			events.SchemaVersion("1.0"))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	emails := queue.Define[SendEmail]("email", queue.Config{})
	report, err := outbox.CheckPayloads(ctx, box, 0, emails,
		customerStates.Decoding(func(event events.Event[json.RawMessage]) error {
			_, err := customers.Decode(event.SchemaVersion, event.State)
			return err
		}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d payloads, %d poison\n", report.Checked, report.Poisoned)
	for _, poison := range report.Poison {
		fmt.Println(poison.Kind, poison.Name, poison.Status)
	}
	// Output:
	// 2 payloads, 1 poison
	// task email pending
}

// What the old program wrote.
var (
	oldEmails      = queue.Define[json.RawMessage]("email", queue.Config{})
	customerStates = events.Define("customer", func(json.RawMessage) string { return "1" }, events.Config{})
)
