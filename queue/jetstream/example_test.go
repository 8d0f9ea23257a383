package jetstream_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	strunkjs "github.com/strunk-go/strunk/queue/jetstream"
)

// SendEmail is the payload of Emails.
type SendEmail struct{ To string }

// Emails is declared once, for those who enqueue and those who work.
var Emails = queue.Define[SendEmail]("emails", queue.Config{MaxAttempts: 5})

// withDatabase is a process that has the database: it enqueues, and it forwards.
func withDatabase(ctx context.Context, box *outbox.Box, js jetstream.JetStream) error {
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Emails.Enqueue(ctx, tx, SendEmail{To: "user@example.com"})
		return err
	})
	if err != nil {
		return err
	}
	return box.Run(ctx, strunkjs.ForwardTasks(Emails, js, strunkjs.Config{
		Create: &jetstream.StreamConfig{Storage: jetstream.MemoryStorage}}))
}

// withoutDatabase is one of many processes that work.
func withoutDatabase(ctx context.Context, js jetstream.JetStream, send queue.Handler[SendEmail]) error {
	return strunkjs.Worker(Emails, js, send, strunkjs.Config{
		Create: &jetstream.StreamConfig{Storage: jetstream.MemoryStorage}}, queue.Concurrency(50)).Run(ctx)
}

func ExampleWorker() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	box, js, end := exampleServers(ctx)
	defer end()
	var processes sync.WaitGroup
	processes.Go(func() {
		if err := withDatabase(ctx, box, js); err != nil {
			log.Fatal(err)
		}
	})
	err := withoutDatabase(ctx, js, func(_ context.Context, task queue.Task[SendEmail]) error {
		fmt.Println("sending to", task.Payload.To, "attempt", task.Attempt)
		stop()
		return nil
	})
	processes.Wait()
	fmt.Println(err)
	// Output:
	// sending to user@example.com attempt 1
	// <nil>
}
