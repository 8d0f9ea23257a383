package ops

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/strunk-go/strunk/outbox"
)

// MetricsConfig configures Collector. The zero value is usable.
type MetricsConfig struct {
	// Thresholds are those of strunk_health_status.
	Thresholds Thresholds
	// Series bounds the queues and the subscribers; zero means DefaultMetricSeries.
	Series int
	// Refresh is how old what is collected may be; zero means DefaultRefresh.
	Refresh time.Duration
}

// Collector returns a collector for a registry of your own; /metrics of Handler has one of its own.
// Counters and histograms are totals since the tables were made: no restart sets them back.
// Its series are bounded by queues, subscribers, loops, checks and kinds of tables, never by ids.
// Each process that is scraped shows the whole installation: aggregate with max, not with sum. What
// one process does is measured by queue/otelqueue and events/otelevents.
func Collector(box *outbox.Box, cfg MetricsConfig) prometheus.Collector {
	orDefault(&cfg.Series, DefaultMetricSeries)
	orDefault(&cfg.Refresh, DefaultRefresh)
	cfg.Series = min(max(cfg.Series, 1), MaxLimit)
	of := stateOf(box, cfg.Thresholds.withDefaults())
	c := &cached[Live]{keep: cfg.Refresh, ask: func(ctx context.Context) (Live, error) {
		return live(ctx, box, cfg.Series, of)
	}}
	return &collector{source: c.get}
}

type collector struct {
	source func(context.Context) (Live, error)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("strunk_"+name, help, labels, nil)
}

var (
	descUp     = desc("up", "Whether the database could be asked.")
	descTasks  = desc("queue_tasks", "Tasks by status; beyond a cap as they were counted last.", "queue", "status")
	descOldest = desc("queue_oldest_pending_seconds", "How long the task at the head of the queue has waited.",
		"queue")
	descWorkers     = desc("queue_workers", "Processes that work the queue.", "queue")
	descConcurrency = desc("queue_concurrency", "Tasks that the queue's workers handle at once.", "queue")
	descPaused      = desc("queue_paused", "Whether the queue is paused or on hold.", "queue")
	descLagEvents   = desc("subscriber_waiting_events",
		"Events after the subscriber's cursor; beyond a cap as counted last.", "subscriber", "entity_type")
	descLag = desc("subscriber_lag_seconds", "Age of the first event that the subscriber has not handled.",
		"subscriber", "entity_type")
	descDeliveries = desc("subscriber_deliveries", "Copies of events that failed, and of those behind them; "+
		"beyond a cap as counted last.", "subscriber", "entity_type")
	descSubDead = desc("subscriber_dead_letters", "Dead letters of the subscriber; beyond a cap as counted last.",
		"subscriber", "entity_type")
	descNeedsRestart = desc("subscriber_needs_restart",
		"Whether the subscriber has stopped because events were dropped.", "subscriber", "entity_type")
	descSubPaused = desc("subscriber_paused", "Whether the subscriber is paused.", "subscriber", "entity_type")
	descForwarded = desc("forwarder_sent_messages", "Messages that have arrived, repeats included.", "forwarder",
		"kind")
	descForwardWaiting = desc("forwarder_waiting_messages",
		"Events or tasks that were not sent yet; beyond a cap as counted last.", "forwarder", "kind")
	descForwardLag   = desc("forwarder_lag_seconds", "Age of the first that was not sent yet.", "forwarder", "kind")
	descForwardThere = desc("forwarder_destination_waiting_messages",
		"Messages that nobody has taken from the destination, where it can say.", "forwarder", "kind")
	descForwardFailing = desc("forwarder_failing", "Whether the destination takes nothing.", "forwarder", "kind")
	descTruncated      = desc("series_truncated", "Whether queues or subscribers were left out for their number.")
	descRelay          = desc("relay_waiting_seconds", "Age of the first event that waits for the relay.")
	descRelayEvents    = desc("relay_waiting_events", "Events that wait for the relay; beyond a cap as counted last.")
	descFeedKept       = desc("feed_events", "Events in the feed.")
	descHead           = desc("feed_head_position", "The newest position of the feed.")
	descDelivered      = desc("delivered_tasks", "Delivered tasks that are kept; beyond a cap as counted last.")
	descDead           = desc("dead_letters", "Dead letters of tasks and subscribers; beyond a cap as counted last.")
	descBytes          = desc("table_bytes", "Size of the tables with their indexes.", "part")
	descDeadRows       = desc("table_dead_rows", "Row versions that wait for vacuum, an estimate.", "part")
	descLoop           = desc("loop_since_success_seconds", "Time since the loop last succeeded in any process.",
		"loop")
	descHealth  = desc("health_status", "Result of the check: 0 ok, 1 warn, 2 fail.", "check")
	descHorizon = desc("horizon_transactions", "Transactions begun since the oldest open one.")
	descNotify  = desc("notify_queue_usage_ratio", "How full PostgreSQL's queue of notifications is.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descTasks, descOldest, descWorkers, descConcurrency, descPaused,
		descLagEvents, descLag, descDeliveries, descSubPaused,
		descSubDead, descNeedsRestart, descForwarded, descForwardWaiting, descForwardLag, descForwardThere,
		descForwardFailing, descTruncated, descRelay, descRelayEvents, descFeedKept, descHead,
		descDelivered, descDead, descBytes,
		descDeadRows, descLoop, descHealth, descHorizon, descNotify} {
		ch <- d
	}
	for _, d := range counterDescs() {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Where the database cannot be asked, strunk_up is 0 and
// nothing else is there.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		ch <- m
	}
	l, err := c.source(context.Background())
	if err != nil {
		gauge(descUp, 0)
		return
	}
	gauge(descUp, 1)
	collectQueues(l, gauge)
	collectSubscribers(l, gauge)
	collectForwarders(l, gauge)
	collectWhole(l, gauge)
	collectCounters(l, ch)
}

type gauges func(d *prometheus.Desc, v float64, labels ...string)

func collectQueues(l Live, gauge gauges) {
	for _, q := range l.Queues {
		for status, n := range map[string]Count{"pending": q.Pending, "scheduled": q.Scheduled, "claimed": q.Claimed,
			"dead": q.Dead, "cancelled": q.Cancelled, "discarded": q.Discarded} {
			gauge(descTasks, float64(n.N), q.Name, status)
		}
		gauge(descOldest, q.WaitingFor.Seconds(), q.Name)
		gauge(descWorkers, float64(q.Workers), q.Name)
		gauge(descConcurrency, float64(q.Concurrency), q.Name)
		gauge(descPaused, truth(q.PausedAt != nil || q.HeldUntil != nil), q.Name)
	}
}

func collectSubscribers(l Live, gauge gauges) {
	for _, s := range l.Subscribers {
		gauge(descLagEvents, float64(s.Waiting.N), s.Name, s.EntityType)
		gauge(descLag, s.Lag.Seconds(), s.Name, s.EntityType)
		gauge(descDeliveries, float64(s.Deliveries.N), s.Name, s.EntityType)
		gauge(descSubDead, float64(s.Dead.N), s.Name, s.EntityType)
		gauge(descNeedsRestart, truth(s.NeedsRestart), s.Name, s.EntityType)
		gauge(descSubPaused, truth(s.Paused), s.Name, s.EntityType)
	}
}

func collectForwarders(l Live, gauge gauges) {
	for _, f := range l.Forwarders {
		gauge(descForwarded, float64(f.Sent), f.Name, f.Kind)
		gauge(descForwardWaiting, float64(f.Waiting.N), f.Name, f.Kind)
		gauge(descForwardLag, f.Lag.Seconds(), f.Name, f.Kind)
		gauge(descForwardFailing, truth(f.FailingFor != nil), f.Name, f.Kind)
		if f.There != nil {
			gauge(descForwardThere, float64(*f.There), f.Name, f.Kind)
		}
	}
}

func collectWhole(l Live, gauge gauges) {
	gauge(descTruncated, truth(l.Truncated))
	gauge(descRelay, l.RelayWaiting.Seconds())
	gauge(descRelayEvents, float64(l.Overall.EventsWaiting.N))
	gauge(descFeedKept, float64(l.Overall.EventsKept.N))
	gauge(descHead, float64(l.Overall.Head))
	gauge(descDelivered, float64(l.Overall.Delivered.N))
	gauge(descDead, float64(l.Overall.Dead.N))
	bytes, dead := map[string]int64{}, map[string]int64{}
	for _, t := range l.Overall.Tables {
		bytes[t.Part] += t.TotalBytes
		dead[t.Part] += t.DeadRows.N
	}
	for part := range bytes {
		gauge(descBytes, float64(bytes[part]), part)
		gauge(descDeadRows, float64(dead[part]), part)
	}
	for name, loop := range l.loops {
		if loop.Age >= 0 {
			gauge(descLoop, loop.Age.Seconds(), name)
		}
	}
	for _, check := range l.Health.Checks {
		gauge(descHealth, float64(severity[check.Status]), check.Name)
	}
	var oldest int64
	for _, h := range l.holders {
		oldest = max(oldest, h.Transactions)
	}
	gauge(descHorizon, float64(oldest))
	gauge(descNotify, l.notify)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
