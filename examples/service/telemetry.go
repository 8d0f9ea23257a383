package main

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/strunk-go/strunk/events/otelevents"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/otelqueue"
)

// telemetry is what the service traces and measures with. A real one adds exporters:
// sdktrace.WithBatcher and a metric.Reader.
type telemetry struct {
	tracer *sdktrace.TracerProvider
	meter  *metric.MeterProvider
	queue  queue.Middleware
	events *otelevents.Telemetry
}

func newTelemetry(traces ...sdktrace.TracerProviderOption) (*telemetry, error) {
	t := &telemetry{tracer: sdktrace.NewTracerProvider(traces...), meter: metric.NewMeterProvider()}
	propagator := propagation.TraceContext{}
	var err error
	t.queue, err = otelqueue.New(otelqueue.Config{Tracer: t.tracer, Meter: t.meter, Propagator: propagator})
	if err != nil {
		return nil, err
	}
	t.events, err = otelevents.New(otelevents.Config{Tracer: t.tracer, Meter: t.meter, Propagator: propagator})
	return t, err
}

// shutdown sends what has not been sent.
func (t *telemetry) shutdown(logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, stop := range []func(context.Context) error{t.tracer.Shutdown, t.meter.Shutdown} {
		if err := stop(ctx); err != nil {
			logger.Warn("telemetry was not sent", "error", err)
		}
	}
}
