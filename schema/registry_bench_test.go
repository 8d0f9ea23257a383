package schema_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/schema"
)

// The cost of a publish of an order of 20 fields, commit included, on a server that keeps what it
// has confirmed, and the share of it that validation takes. Both are measured in the same run, so
// that a busy machine slows them alike.
func BenchmarkPublishWithSchema(b *testing.B) {
	timed := &timedValidator{}
	benchmarkPublish(b, timed)
	b.ReportMetric(100*float64(timed.spent)/float64(b.Elapsed()), "%validation")
	b.ReportMetric(float64(timed.spent.Nanoseconds())/float64(b.N), "validation-ns/op")
}

// timedValidator adds up what validation takes.
type timedValidator struct {
	schema.Validator
	spent time.Duration
}

func (v *timedValidator) Validate(ctx context.Context, name, version string, state json.RawMessage) (string, error) {
	begun := time.Now()
	defer func() { v.spent += time.Since(begun) }()
	return v.Validator.Validate(ctx, name, version, state)
}

// The same without a schema.
func BenchmarkPublishWithoutSchema(b *testing.B) { benchmarkPublish(b, nil) }

func benchmarkPublish(b *testing.B, validator events.Validator) {
	ctx := context.Background()
	server, err := outboxtest.Start(ctx, outboxtest.Durable())
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		b.Fatal(err)
	}
	box := openBox(b, pool)
	payload, document := schema.BenchOrder()
	register(b, schema.NewRegistry(box), "order", "1.0", string(document))
	orders := events.Define("order", rawID, events.Config{Validator: validator})
	b.ReportAllocs()
	for b.Loop() {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := orders.Publish(ctx, tx, payload)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Validation alone, through the registry, with the schema compiled once.
func BenchmarkRegistryValidate(b *testing.B) {
	r, _ := newRegistry(b)
	payload, document := schema.BenchOrder()
	register(b, r, "order", "1.0", string(document))
	for b.Loop() {
		if _, err := (r.Validator()).Validate(b.Context(), "order", "1.0", json.RawMessage(payload)); err != nil {
			b.Fatal(err)
		}
	}
}
