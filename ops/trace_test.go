package ops_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/otelevents"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/ops/otelops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/otelqueue"
)

type order struct{ ID string }

// A request enqueues a task and publishes an event in one transaction; the handlers of both, in
// loops of their own, are in the request's trace, which went through the table.
func TestOneTraceFromTheRequestToTheHandlers(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	reader := metric.NewManualReader()
	meter := metric.NewMeterProvider(metric.WithReader(reader))
	tasks, err := otelqueue.New(otelqueue.Config{Tracer: tracer, Meter: meter, Propagator: propagation.TraceContext{}})
	if err != nil {
		t.Fatal(err)
	}
	telemetry, err := otelevents.New(otelevents.Config{Tracer: tracer, Meter: meter,
		Propagator: propagation.TraceContext{}})
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), outboxtest.New(t),
		outbox.Config{Extensions: []outbox.Extension{tasks}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mails := queue.Define[order]("mails", queue.Config{})
	orders := events.Define("order", func(o order) string { return o.ID }, events.Config{})

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Tracer("shop").Start(r.Context(), "POST /orders", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			if _, err := mails.Enqueue(ctx, tx, order{"42"},
				queue.Metadata(map[string]string{"tenant": "a"})); err != nil {
				return err
			}
			_, err := otelevents.Publish(ctx, telemetry, orders, tx, order{"42"},
				events.Metadata(map[string]string{"tenant": "a"}))
			return err
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})

	seen := make(chan trace.SpanContext, 2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- box.Run(ctx,
			mails.Worker(func(ctx context.Context, task queue.Task[order]) error {
				if task.Metadata["tenant"] != "a" {
					return fmt.Errorf("metadata %v", task.Metadata)
				}
				seen <- trace.SpanContextFromContext(ctx)
				return nil
			}),
			orders.Subscriber("indexer", otelevents.Handler(telemetry, "indexer",
				func(ctx context.Context, e events.Event[order]) error {
					if e.Metadata["tenant"] != "a" {
						return fmt.Errorf("metadata %v", e.Metadata)
					}
					seen <- trace.SpanContextFromContext(ctx)
					return nil
				}), events.From(events.FromBeginning)))
	}()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/orders", nil))
	if w.Code != 200 {
		t.Fatal(w.Body)
	}
	inHandlers := map[trace.TraceID]int{}
	for range 2 {
		inHandlers[(<-seen).TraceID()]++
	}
	until(t, "both spans have ended", func() bool { return len(exporter.GetSpans()) == 5 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	spans := map[string]tracetest.SpanStub{}
	for _, s := range exporter.GetSpans() {
		spans[s.Name] = s
	}
	for child, parent := range map[string]string{"enqueue": "POST /orders", "publish order": "POST /orders",
		"work mails": "enqueue", "process order": "publish order"} {
		c, p := spans[child], spans[parent]
		if !c.SpanContext.IsValid() || c.SpanContext.TraceID() != p.SpanContext.TraceID() ||
			c.Parent.SpanID() != p.SpanContext.SpanID() {
			t.Errorf("%q is no child of %q: %v", child, parent, c.Parent)
		}
	}
	if inHandlers[spans["POST /orders"].SpanContext.TraceID()] != 2 {
		t.Errorf("the handlers were in %v", inHandlers)
	}
	attribute(t, spans["publish order"], "messaging.operation.type", "send")
	attribute(t, spans["process order"], "messaging.operation.type", "process")
	attribute(t, spans["process order"], "messaging.destination.subscription.name", "indexer")
	attribute(t, spans["work mails"], "messaging.destination.name", "mails")
	attribute(t, spans["work mails"], "messaging.operation.type", "process")
	attribute(t, spans["enqueue"], "messaging.system", "strunk")

	metrics, err := ops.Handler(box, ops.Config{Insecure: true, Timeout: testkit.Soon})
	if err != nil {
		t.Fatal(err)
	}
	scrape := httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil)
	scrape.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w = httptest.NewRecorder()
	metrics.ServeHTTP(w, scrape)
	for _, histogram := range []string{"queue_wait", "queue_run", "subscriber_wait", "subscriber_run"} {
		id := spans["POST /orders"].SpanContext.TraceID()
		bucket := regexp.MustCompile(`strunk_` + histogram + `_seconds_bucket\{.*\} 1 # \{trace_id="` + id.String() +
			`"\} [0-9.e-]+ [0-9.e+]+\n`)
		if !bucket.MatchString(w.Body.String()) {
			t.Errorf("%s has no exemplar of trace %v in\n%s", histogram, id, w.Body)
		}
	}

	registration, err := otelops.Observe(box, otelops.Config{Meter: meter})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registration.Unregister() }()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			names += m.Name + "\n"
		}
	}
	for _, want := range []string{"messaging.client.sent.messages", "messaging.client.consumed.messages",
		"messaging.process.duration", otelevents.MetricLag,
		otelqueue.MetricAttempts, "strunk.table.size", "strunk.health", "strunk.subscriber.lag"} {
		if !strings.Contains(names, want+"\n") {
			t.Errorf("no %s among\n%s", want, names)
		}
	}
}

func attribute(t *testing.T, s tracetest.SpanStub, key, want string) {
	t.Helper()
	for _, a := range s.Attributes {
		if string(a.Key) == key && a.Value.AsString() == want {
			return
		}
	}
	t.Errorf("%q has no %s = %q: %v", s.Name, key, want, s.Attributes)
}
