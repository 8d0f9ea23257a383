// Package otelqueue traces and measures queues with OpenTelemetry: a middleware for package queue.
//
// The trace context travels in the task's metadata, as the propagator writes it (traceparent, for example), so that the
// span of an attempt is linked to the one in which the task was enqueued.
package otelqueue

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/queue"
)

const scope = "github.com/strunk-go/strunk/queue/otelqueue"

// Names of the instruments.
const (
	// MetricEnqueued counts tasks enqueued, by queue; duplicates are not counted.
	MetricEnqueued = "strunk.queue.enqueued"
	// MetricAttempts counts attempts, by queue and outcome: ok, snoozed or error.
	MetricAttempts = "strunk.queue.attempts"
	// MetricDuration is how long attempts take, in seconds, by queue and outcome.
	MetricDuration = "strunk.queue.attempt.duration"
	// MetricWait is how long tasks that are due wait for an attempt's start, in seconds, by queue. It compares the
	// database's clock with that of the process.
	MetricWait = "strunk.queue.wait"
	// MetricDead counts tasks that became dead letters, by queue.
	MetricDead = "strunk.queue.dead"
)

// Config names the providers. A nil field means the global one of OpenTelemetry.
type Config struct {
	Tracer     trace.TracerProvider
	Meter      metric.MeterProvider
	Propagator propagation.TextMapPropagator
}

type instruments struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	enqueued   metric.Int64Counter
	attempts   metric.Int64Counter
	dead       metric.Int64Counter
	duration   metric.Float64Histogram
	wait       metric.Float64Histogram
}

// New makes the middleware. The errors are those of the meter.
func New(cfg Config) (queue.Middleware, error) {
	if cfg.Tracer == nil {
		cfg.Tracer = otel.GetTracerProvider()
	}
	if cfg.Meter == nil {
		cfg.Meter = otel.GetMeterProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = otel.GetTextMapPropagator()
	}
	in := instruments{tracer: cfg.Tracer.Tracer(scope), propagator: cfg.Propagator}
	if err := in.make(cfg.Meter.Meter(scope)); err != nil {
		return queue.Middleware{}, err
	}
	return queue.Middleware{Enqueue: in.enqueue, Work: in.work, Dead: in.died}, nil
}

func (in *instruments) make(meter metric.Meter) error {
	var errs [5]error
	in.enqueued, errs[0] = meter.Int64Counter(MetricEnqueued, metric.WithUnit("{task}"))
	in.attempts, errs[1] = meter.Int64Counter(MetricAttempts, metric.WithUnit("{attempt}"))
	in.dead, errs[2] = meter.Int64Counter(MetricDead, metric.WithUnit("{task}"))
	bounds := metric.WithExplicitBucketBoundaries(core.HistogramSeconds()...)
	in.duration, errs[3] = meter.Float64Histogram(MetricDuration, metric.WithUnit("s"), bounds)
	in.wait, errs[4] = meter.Float64Histogram(MetricWait, metric.WithUnit("s"), bounds)
	return errors.Join(errs[:]...)
}

// enqueue is one span for a call, however many tasks it enqueues.
func (in *instruments) enqueue(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
	ctx, span := in.tracer.Start(ctx, "enqueue", trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(enqueueing(tasks)...))
	defer span.End()
	for _, task := range tasks {
		in.propagator.Inject(ctx, carrier{task})
	}
	err := next(ctx)
	if err != nil {
		fail(span, err)
		return err
	}
	for _, task := range tasks {
		if !task.Enqueued().Duplicate {
			in.enqueued.Add(ctx, 1, metric.WithAttributes(queueName(task.Queue())))
		}
	}
	return nil
}

// work is one span for an attempt, in the trace of the enqueue.
func (in *instruments) work(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
	meta, err := task.Metadata()
	if err != nil {
		return err
	}
	ctx = in.propagator.Extract(ctx, propagation.MapCarrier(meta))
	ctx, span := in.tracer.Start(ctx, "work "+task.Queue(), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			system, semconv.MessagingDestinationName(task.Queue()),
			semconv.MessagingMessageID(strconv.FormatInt(task.ID(), 10)),
			semconv.MessagingOperationName("work"), semconv.MessagingOperationTypeProcess,
			attribute.Int("strunk.attempt", task.Attempt())))
	defer span.End()
	began, outcome := time.Now(), "error"
	defer func() { // also where the handler panics
		set := metric.WithAttributes(queueName(task.Queue()), attribute.String("outcome", outcome))
		in.attempts.Add(ctx, 1, set)
		in.duration.Record(ctx, time.Since(began).Seconds(), set)
	}()
	in.wait.Record(ctx, max(0, began.Sub(task.DueAt()).Seconds()), metric.WithAttributes(queueName(task.Queue())))
	switch err = next(ctx); {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, queue.ErrSnoozed):
		outcome = "snoozed"
	default:
		fail(span, err)
	}
	return err
}

func (in *instruments) died(ctx context.Context, letter queue.DeadLetter) {
	in.dead.Add(ctx, 1, metric.WithAttributes(queueName(letter.Queue)))
}

// system names the messaging system; the attributes are those of OpenTelemetry's semantic conventions for messaging.
var system = semconv.MessagingSystemKey.String("strunk")

// enqueueing are the attributes of an enqueue: the queue is named where there is one.
func enqueueing(tasks []*queue.Outgoing) []attribute.KeyValue {
	all := []attribute.KeyValue{system, semconv.MessagingOperationName("enqueue"), semconv.MessagingOperationTypeSend,
		semconv.MessagingBatchMessageCount(len(tasks))}
	for _, task := range tasks {
		if task.Queue() != tasks[0].Queue() {
			return all
		}
	}
	return append(all, semconv.MessagingDestinationName(tasks[0].Queue()))
}

func queueName(name string) attribute.KeyValue { return attribute.String("queue", name) }

func fail(span trace.Span, err error) {
	span.RecordError(err)
	span.SetAttributes(semconv.ErrorType(err))
	span.SetStatus(codes.Error, err.Error())
}

// carrier is a task's metadata as the propagator writes to it.
type carrier struct{ task *queue.Outgoing }

func (c carrier) Get(key string) string { return c.task.Metadata(key) }
func (c carrier) Set(key, value string) { c.task.SetMetadata(key, value) }
func (c carrier) Keys() []string        { return nil }
