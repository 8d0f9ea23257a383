package otelevents_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/otelevents"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

type order struct{ ID string }

func setup(t *testing.T) (*otelevents.Telemetry, *tracetest.InMemoryExporter, *metric.ManualReader) {
	t.Helper()
	exporter, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
	telemetry, err := otelevents.New(otelevents.Config{
		Tracer: trace.NewTracerProvider(trace.WithSyncer(exporter)),
		Meter:  metric.NewMeterProvider(metric.WithReader(reader)), Propagator: propagation.TraceContext{}})
	if err != nil {
		t.Fatal(err)
	}
	return telemetry, exporter, reader
}

// How a handler ends is how its span ends, and a panic goes on.
func TestHandlersOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		handler      events.Handler[order]
		status       codes.Code
		panics       bool
	}{
		{"ok", "no status is set", func(context.Context, events.Event[order]) error { return nil }, codes.Unset, false},
		{"error", "the attempt has failed", func(context.Context,
			events.Event[order]) error {
			return errors.New("no index")
		}, codes.Error, false},
		{"panic", "so has this one", func(context.Context, events.Event[order]) error { panic("a bug") },
			codes.Error, true},
	} {
		telemetry, exporter, reader := setup(t)
		func() {
			defer func() {
				if (recover() != nil) != c.panics {
					t.Errorf("%s: the panic has not gone on", c.name)
				}
			}()
			_ = otelevents.Handler(telemetry, "indexer", c.handler)(t.Context(),
				events.Event[order]{ID: 7, EntityType: "order", PublishedAt: time.Now()})
		}()
		spans := exporter.GetSpans()
		if len(spans) != 1 || spans[0].Status.Code != c.status || spans[0].EndTime.IsZero() {
			t.Errorf("%s (%s): %+v", c.name, c.reason, spans)
		}
		if n := consumed(t, reader); n != 1 {
			t.Errorf("%s: %d events consumed", c.name, n)
		}
	}
}

// A batch has one span, which links to the publish of each of its events, and counts each.
func TestBatchLinksToEachPublish(t *testing.T) {
	t.Parallel()
	telemetry, exporter, reader := setup(t)
	var batch []events.Event[order]
	for i := range 3 {
		batch = append(batch, events.Event[order]{ID: int64(i), EntityType: "order", Metadata: map[string]string{
			"traceparent": fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)}})
	}
	handle := otelevents.BatchHandler(telemetry, "indexer",
		func(context.Context, []events.Event[order]) error { return nil })
	if err := handle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	if len(spans) != 1 || len(spans[0].Links) != 3 ||
		spans[0].Links[2].SpanContext.TraceID().String() != fmt.Sprintf("%032x", 3) {
		t.Errorf("%+v", spans)
	}
	if n := consumed(t, reader); n != 3 {
		t.Errorf("%d events consumed", n)
	}
	if err := handle(t.Context(), nil); err != nil || len(exporter.GetSpans()) != 1 {
		t.Errorf("an empty batch: %v", err)
	}
}

func consumed(t *testing.T, reader *metric.ManualReader) (n int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "messaging.client.consumed.messages" {
				for _, p := range sum.DataPoints {
					n += p.Value
				}
			}
		}
	}
	return n
}

// What is published in a transaction carries the trace, beside the caller's own metadata; a failed
// publish is a failed span.
func TestPublishCarriesTheTrace(t *testing.T) {
	t.Parallel()
	telemetry, exporter, _ := setup(t)
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	orders := events.Define("order", func(o order) string { return o.ID }, events.Config{})
	err = box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		ctx := t.Context()
		if _, err := otelevents.Publish(ctx, telemetry, orders, tx, order{"1"},
			events.Metadata(map[string]string{"tenant": "a"})); err != nil {
			return err
		}
		if _, err := otelevents.Delete(ctx, telemetry, orders, tx, "1"); err != nil {
			return err
		}
		_, err := otelevents.Publish(ctx, telemetry, orders, tx, order{""})
		if !errors.Is(err, events.ErrInvalid) {
			return fmt.Errorf("an empty id: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var with, all int
	const sql = `SELECT count(*) FILTER (WHERE metadata->>'traceparent' LIKE '00-%' AND (deleted
		OR metadata->>'tenant' = 'a')), count(*)
		FROM (SELECT metadata, payload IS NULL AS deleted FROM public.strunk_outbox_events) e`
	if err := pool.QueryRow(t.Context(), sql).Scan(&with, &all); err != nil || with != 2 || all != 2 {
		t.Errorf("%d of %d events carry the trace: %v", with, all, err)
	}
	spans := exporter.GetSpans()
	if len(spans) != 3 || spans[0].Status.Code != codes.Unset || spans[2].Status.Code != codes.Error {
		t.Errorf("%+v", spans)
	}
}
