// Package otelops offers what package ops knows of an installation as OpenTelemetry metrics. What a
// process does is measured by queue/otelqueue and events/otelevents; this is what is in the
// database, of all processes: one of them needs to report it.
package otelops

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

const scope = "github.com/strunk-go/strunk/ops/otelops"

// Config configures Observe. The zero value is usable.
type Config struct {
	// Meter is nil for the global one of OpenTelemetry.
	Meter metric.MeterProvider
	// Thresholds are those of strunk.health.
	Thresholds ops.Thresholds
	// Series bounds the queues and the subscribers; zero means ops.DefaultLimit.
	Series int
}

type gauges struct {
	tasks, workers, waiting, bytes, health metric.Int64ObservableGauge
	oldest, lag, relay                     metric.Float64ObservableGauge
}

// Observe has the meter's readers ask the database whenever they collect, until Unregister is
// called. Attributes are bounded by queues, subscribers, checks and kinds of tables.
func Observe(box *outbox.Box, cfg Config) (metric.Registration, error) {
	if cfg.Meter == nil {
		cfg.Meter = otel.GetMeterProvider()
	}
	meter := cfg.Meter.Meter(scope)
	var g gauges
	if err := g.make(meter); err != nil {
		return nil, fmt.Errorf("strunk/otelops: observe: %w", err)
	}
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, 2*ops.QueryTimeout)
		defer cancel()
		l, err := ops.ReadLive(ctx, box, cfg.Thresholds, cfg.Series)
		if err != nil {
			return err
		}
		g.observe(o, l)
		return nil
	}, g.tasks, g.workers, g.waiting, g.bytes, g.health, g.oldest, g.lag, g.relay)
	if err != nil {
		return nil, fmt.Errorf("strunk/otelops: observe: %w", err)
	}
	return registration, nil
}

func (g *gauges) make(meter metric.Meter) error {
	var errs [8]error
	about := metric.WithDescription
	g.tasks, errs[0] = meter.Int64ObservableGauge("strunk.queue.tasks", metric.WithUnit("{task}"),
		about("Tasks by queue and status; beyond a cap estimates."))
	g.workers, errs[1] = meter.Int64ObservableGauge("strunk.queue.workers", metric.WithUnit("{process}"),
		about("Processes that work the queue."))
	g.oldest, errs[2] = meter.Float64ObservableGauge("strunk.queue.oldest_pending", metric.WithUnit("s"),
		about("How long the task at the head of the queue has waited."))
	g.waiting, errs[3] = meter.Int64ObservableGauge("strunk.subscriber.waiting", metric.WithUnit("{event}"),
		about("Events after the subscriber's cursor; beyond a cap as counted last."))
	g.lag, errs[4] = meter.Float64ObservableGauge("strunk.subscriber.lag", metric.WithUnit("s"),
		about("Age of the first event that the subscriber has not handled."))
	g.relay, errs[5] = meter.Float64ObservableGauge("strunk.relay.waiting", metric.WithUnit("s"),
		about("Age of the first event that waits for the relay."))
	g.bytes, errs[6] = meter.Int64ObservableGauge("strunk.table.size", metric.WithUnit("By"),
		about("Size of the tables with their indexes."))
	g.health, errs[7] = meter.Int64ObservableGauge("strunk.health", about("Result of the check: 0 ok, 1 warn, 2 fail."))
	return errors.Join(errs[:]...)
}

func (g *gauges) observe(o metric.Observer, l ops.Live) {
	for _, q := range l.Queues {
		name := attribute.String("queue", q.Name)
		for status, n := range map[string]ops.Count{"pending": q.Pending, "scheduled": q.Scheduled,
			"claimed": q.Claimed, "dead": q.Dead} {
			o.ObserveInt64(g.tasks, n.N, metric.WithAttributes(name, attribute.String("status", status)))
		}
		o.ObserveInt64(g.workers, q.Workers, metric.WithAttributes(name))
		o.ObserveFloat64(g.oldest, q.WaitingFor.Seconds(), metric.WithAttributes(name))
	}
	for _, s := range l.Subscribers {
		set := metric.WithAttributes(attribute.String("subscriber", s.Name),
			attribute.String("entity_type", s.EntityType))
		o.ObserveInt64(g.waiting, s.Waiting.N, set)
		o.ObserveFloat64(g.lag, s.Lag.Seconds(), set)
	}
	sizes := map[string]int64{}
	for _, t := range l.Overall.Tables {
		sizes[t.Part] += t.TotalBytes
	}
	for part, n := range sizes {
		o.ObserveInt64(g.bytes, n, metric.WithAttributes(attribute.String("part", part)))
	}
	for _, c := range l.Health.Checks {
		level := map[ops.Status]int64{ops.StatusOK: 0, ops.StatusWarn: 1, ops.StatusFail: 2}[c.Status]
		o.ObserveInt64(g.health, level, metric.WithAttributes(attribute.String("check", c.Name)))
	}
	o.ObserveFloat64(g.relay, l.RelayWaiting.Seconds())
}
