// Package otelevents traces and measures state events with OpenTelemetry, by its semantic conventions for messaging.
//
// The trace context travels in the event's metadata, as the propagator writes it (traceparent, for
// example), so that the span of a handler is in the trace of the request that published:
//
//	_, err := otelevents.Publish(ctx, telemetry, Orders, tx, order)
//	indexer := Orders.Subscriber("search-indexer", otelevents.Handler(telemetry, "search-indexer", index))
package otelevents

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	scope  = "github.com/strunk-go/strunk/events/otelevents"
	system = messagingconv.SystemAttr("strunk")
)

// MetricLag is how old events are when their handler begins, in seconds, by entity type and subscriber. It compares the
// database's clock with that of the process. The other instruments are those of the semantic conventions:
// messaging.client.sent.messages, messaging.client.consumed.messages and messaging.process.duration.
const MetricLag = "strunk.events.lag"

// Config names the providers. A nil field means the global one of OpenTelemetry.
type Config struct {
	Tracer     trace.TracerProvider
	Meter      metric.MeterProvider
	Propagator propagation.TextMapPropagator
}

// Telemetry traces and measures. Make it with New; it is safe for use by several goroutines.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	sent       messagingconv.ClientSentMessages
	consumed   messagingconv.ClientConsumedMessages
	duration   messagingconv.ProcessDuration
	lag        metric.Float64Histogram
}

// New makes the instruments. The errors are those of the meter.
func New(cfg Config) (*Telemetry, error) {
	if cfg.Tracer == nil {
		cfg.Tracer = otel.GetTracerProvider()
	}
	if cfg.Meter == nil {
		cfg.Meter = otel.GetMeterProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = otel.GetTextMapPropagator()
	}
	t, meter := &Telemetry{tracer: cfg.Tracer.Tracer(scope), propagator: cfg.Propagator}, cfg.Meter.Meter(scope)
	var errs [4]error
	t.sent, errs[0] = messagingconv.NewClientSentMessages(meter)
	t.consumed, errs[1] = messagingconv.NewClientConsumedMessages(meter)
	bounds := metric.WithExplicitBucketBoundaries(core.HistogramSeconds()...)
	t.duration, errs[2] = messagingconv.NewProcessDuration(meter, bounds)
	t.lag, errs[3] = meter.Float64Histogram(MetricLag, metric.WithUnit("s"), bounds)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("strunk/otelevents: %w", err)
	}
	return t, nil
}

// Inject is the option that gives an event the trace of ctx, for publishes without Publish.
func (t *Telemetry) Inject(ctx context.Context) events.PublishOption {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return events.Metadata(carrier)
}

// Publish is Stream.Publish within a span, whose trace the event carries.
func Publish[T any](ctx context.Context, t *Telemetry, stream *events.Stream[T], tx outbox.Tx, state T,
	opts ...events.PublishOption) (events.Published, error) {
	var done events.Published
	err := t.send(ctx, stream.EntityType(), func(ctx context.Context, span trace.Span) (err error) {
		done, err = stream.Publish(ctx, tx, state, append(opts[:len(opts):len(opts)], t.Inject(ctx))...)
		span.SetAttributes(semconv.MessagingMessageID(strconv.FormatInt(done.ID, 10)))
		return err
	})
	return done, err
}

// Delete is Stream.Delete within a span, whose trace the tombstone carries.
func Delete[T any](ctx context.Context, t *Telemetry, stream *events.Stream[T], tx outbox.Tx, entityID string,
	opts ...events.PublishOption) (events.Published, error) {
	var done events.Published
	err := t.send(ctx, stream.EntityType(), func(ctx context.Context, span trace.Span) (err error) {
		done, err = stream.Delete(ctx, tx, entityID, append(opts[:len(opts):len(opts)], t.Inject(ctx))...)
		span.SetAttributes(semconv.MessagingMessageID(strconv.FormatInt(done.ID, 10)))
		return err
	})
	return done, err
}

func (t *Telemetry) send(ctx context.Context, entityType string, fn func(context.Context, trace.Span) error) error {
	ctx, span := t.tracer.Start(ctx, "publish "+entityType, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(
			semconv.MessagingSystemKey.String(string(system)), semconv.MessagingDestinationName(entityType),
			semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend))
	defer span.End()
	err := fn(ctx, span)
	attrs := []attribute.KeyValue{semconv.MessagingDestinationName(entityType)}
	if err != nil {
		attrs = append(attrs, fail(span, err))
	}
	t.sent.Add(ctx, 1, "publish", system, attrs...)
	return err
}

// message is what spans and metrics say of an event.
type message struct {
	subscriber, entityType string
	id, position, version  int64
	attempt                int
	published              time.Time
	metadata               map[string]string
}

func messageOf[T any](subscriber string, e events.Event[T]) message {
	return message{subscriber: subscriber, entityType: e.EntityType, id: e.ID, position: e.Position, version: e.Version,
		attempt: e.Attempt, published: e.PublishedAt, metadata: e.Metadata}
}

// Handler wraps a handler in a span in the trace of the event's publish.
func Handler[T any](t *Telemetry, subscriber string, handler events.Handler[T]) events.Handler[T] {
	return func(ctx context.Context, e events.Event[T]) error {
		m := messageOf(subscriber, e)
		ctx = t.propagator.Extract(ctx, propagation.MapCarrier(m.metadata))
		return t.process(ctx, []message{m}, nil, func(ctx context.Context) error { return handler(ctx, e) })
	}
}

// HandlerInTx is Handler for handlers in a transaction.
func HandlerInTx[T any](t *Telemetry, subscriber string, handler events.HandlerInTx[T]) events.HandlerInTx[T] {
	return func(ctx context.Context, tx *outbox.OwnedTx, e events.Event[T]) error {
		m := messageOf(subscriber, e)
		ctx = t.propagator.Extract(ctx, propagation.MapCarrier(m.metadata))
		return t.process(ctx, []message{m}, nil, func(ctx context.Context) error { return handler(ctx, tx, e) })
	}
}

// BatchHandler wraps a handler of several events in a span that links to the publish of each.
func BatchHandler[T any](t *Telemetry, subscriber string, handler events.BatchHandler[T]) events.BatchHandler[T] {
	return func(ctx context.Context, batch []events.Event[T]) error {
		var all []message
		var links []trace.Link
		for _, e := range batch {
			all = append(all, messageOf(subscriber, e))
			from := trace.SpanContextFromContext(t.propagator.Extract(context.Background(),
				propagation.MapCarrier(e.Metadata)))
			if from.IsValid() {
				links = append(links, trace.Link{SpanContext: from,
					Attributes: []attribute.KeyValue{semconv.MessagingMessageID(strconv.FormatInt(e.ID, 10))}})
			}
		}
		return t.process(ctx, all, links, func(ctx context.Context) error { return handler(ctx, batch) })
	}
}

func (t *Telemetry) process(ctx context.Context, batch []message, links []trace.Link,
	handle func(context.Context) error) (err error) {
	if len(batch) == 0 {
		return handle(ctx)
	}
	first, began := batch[0], time.Now()
	ctx, span := t.tracer.Start(ctx, "process "+first.entityType, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(links...),
		trace.WithAttributes(first.attributes(len(batch))...))
	labels := []attribute.KeyValue{semconv.MessagingDestinationName(first.entityType),
		semconv.MessagingDestinationSubscriptionName(first.subscriber)}
	for _, m := range batch {
		t.lag.Record(ctx, max(0, began.Sub(m.published).Seconds()), metric.WithAttributes(labels...))
	}
	returned := false
	defer func() {
		if !returned {
			err = errPanicked // recorded here alone: the panic goes on
		}
		if err != nil {
			labels = append(labels, fail(span, err))
		}
		t.consumed.Add(ctx, int64(len(batch)), "process", system, labels...)
		t.duration.Record(ctx, time.Since(began).Seconds(), "process", system, labels...)
		span.End()
	}()
	err = handle(ctx)
	returned = true
	return err
}

var errPanicked = errors.New("the handler panicked")

func (m message) attributes(n int) []attribute.KeyValue {
	all := []attribute.KeyValue{semconv.MessagingSystemKey.String(string(system)),
		semconv.MessagingDestinationName(m.entityType),
		semconv.MessagingDestinationSubscriptionName(m.subscriber), semconv.MessagingOperationName("process"),
		semconv.MessagingOperationTypeProcess}
	if n > 1 {
		return append(all, semconv.MessagingBatchMessageCount(n))
	}
	return append(all, semconv.MessagingMessageID(strconv.FormatInt(m.id, 10)),
		attribute.Int64("strunk.position", m.position),
		attribute.Int64("strunk.version", m.version), attribute.Int("strunk.attempt", m.attempt))
}

// fail marks a span as failed and returns the class of the error, which is bounded: a Go type.
func fail(span trace.Span, err error) attribute.KeyValue {
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
	kind := semconv.ErrorType(err)
	span.SetAttributes(kind)
	return kind
}
