package otelqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/otelqueue"
)

// The attempt's span belongs to the trace of the request that enqueued the task, though another process works it.
func TestTraceContextTravelsWithTheTask(t *testing.T) {
	t.Parallel()
	spans, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
	tracer := trace.NewTracerProvider(trace.WithSyncer(spans))
	mw, err := otelqueue.New(otelqueue.Config{Tracer: tracer, Meter: metric.NewMeterProvider(metric.WithReader(reader)),
		Propagator: propagation.TraceContext{}})
	if err != nil {
		t.Fatal(err)
	}
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Extensions: []outbox.Extension{mw},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	q := queue.Define[string]("mail", queue.Config{MaxAttempts: 2, Retry: queue.Backoff{First: time.Millisecond}})

	ctx, request := tracer.Tracer("test").Start(t.Context(), "request")
	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := q.EnqueueBatch(ctx, tx, []string{"good", "bad"}, queue.Metadata(map[string]string{"tenant": "7"}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	request.End()
	work(t, box, q)

	byName := map[string][]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		byName[s.Name] = append(byName[s.Name], s)
		if s.SpanContext.TraceID() != request.SpanContext().TraceID() {
			t.Errorf("span %q is in another trace", s.Name)
		}
	}
	if len(byName["enqueue"]) != 1 || len(byName["work mail"]) != 3 {
		t.Fatalf("spans %v; want one for the batch and one for each of three attempts", byName)
	}
	failed := 0
	for _, s := range byName["work mail"] {
		if s.Parent.SpanID() != byName["enqueue"][0].SpanContext.SpanID() {
			t.Error("an attempt is not a child of the enqueue")
		}
		if s.Status.Description == "no" {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d spans have failed; want 2", failed)
	}
	checkMetrics(t, reader)
}

// work works until one task is delivered and one is dead.
func work(t *testing.T, box *outbox.Box, q *queue.Queue[string]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() {
		ran <- box.Run(ctx, q.Worker(func(_ context.Context, task queue.Task[string]) error {
			if task.Metadata["tenant"] != "7" {
				t.Errorf("metadata %v; want what was there before", task.Metadata)
			}
			if task.Payload == "bad" {
				return errors.New("no")
			}
			return nil
		}))
	}()
	for deadline := time.Now().Add(testkit.Soon); ; time.Sleep(5 * time.Millisecond) {
		var ended int
		err := box.Pool().QueryRow(ctx, `SELECT count(*) FROM public.strunk_outbox WHERE status IN ('delivered',
			'dead')`).Scan(&ended)
		if err != nil || time.Now().After(deadline) {
			t.Fatal(ended, err)
		}
		if ended == 2 {
			break
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

func checkMetrics(t *testing.T, reader *metric.ManualReader) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					outcome, _ := p.Attributes.Value("outcome")
					got[m.Name+" "+outcome.AsString()] += p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					got[m.Name] += int64(p.Count)
					if n := len(p.Bounds); p.Bounds[0] != 0.001 || p.Bounds[n-1] != 12*60*60 {
						t.Errorf("%s: bounds %v; want milliseconds to hours", m.Name, p.Bounds)
					}
				}
			}
		}
	}
	want := map[string]int64{otelqueue.MetricEnqueued + " ": 2, otelqueue.MetricAttempts + " ok": 1,
		otelqueue.MetricAttempts + " error": 2,
		otelqueue.MetricDead + " ":          1, otelqueue.MetricDuration: 3, otelqueue.MetricWait: 3}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("metrics %v; want %v", got, want)
	}
}
