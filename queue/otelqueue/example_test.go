package otelqueue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/otelqueue"
)

func Example() {
	ctx := context.Background()
	server, err := outboxtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}

	telemetry, err := otelqueue.New(otelqueue.Config{
		Tracer:     trace.NewTracerProvider(), // nil fields mean OpenTelemetry's global providers
		Propagator: propagation.TraceContext{},
	})
	if err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Extensions: []outbox.Extension{telemetry}})
	if err != nil {
		log.Fatal(err)
	}

	Emails := queue.Define[string]("emails", queue.Config{})
	var id int64
	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		done, err := Emails.Enqueue(ctx, tx, "a@example.com")
		id = done.ID
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	task, err := Emails.Get(ctx, box, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(task.Metadata["traceparent"]))
	// Output: 55
}
