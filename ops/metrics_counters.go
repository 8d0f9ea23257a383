package ops

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// counterMetric is a counter of queues or of subscribers.
type counterMetric struct {
	desc *prometheus.Desc
	n    func(counted) int64
}

func queueCounter(name, help string, n func(counted) int64) counterMetric {
	return counterMetric{desc("queue_"+name, help, "queue"), n}
}

func subscriberCounter(name, help string, n func(counted) int64) counterMetric {
	return counterMetric{desc("subscriber_"+name, help, "subscriber", "entity_type"), n}
}

var (
	queueCounters = []counterMetric{
		queueCounter("enqueued_total", "Tasks that Go programs and schedules have enqueued.",
			func(c counted) int64 { return c.enqueued }),
		queueCounter("begun_total", "Attempts that have begun.", func(c counted) int64 { return c.waits.count() }),
		queueCounter("done_total", "Tasks that are done.", func(c counted) int64 { return c.done }),
		queueCounter("failed_total", "Attempts that have failed.", func(c counted) int64 { return c.failed }),
		queueCounter("retried_total", "Failed attempts after which the task is tried again.",
			func(c counted) int64 { return c.retried }),
		queueCounter("dead_total", "Tasks that became dead letters.", func(c counted) int64 { return c.dead }),
		queueCounter("cancelled_total", "Tasks that were cancelled.", func(c counted) int64 { return c.cancelled }),
		queueCounter("discarded_total", "Tasks that were discarded.", func(c counted) int64 { return c.discarded }),
	}
	subscriberCounters = []counterMetric{
		subscriberCounter("handled_total", "Events that were handled.", func(c counted) int64 { return c.done }),
		subscriberCounter("failed_total", "Attempts to handle an event that have failed.",
			func(c counted) int64 { return c.failed }),
		subscriberCounter("parked_total", "Events whose entity was parked.", func(c counted) int64 { return c.parked }),
		subscriberCounter("dead_total", "Events that became dead letters.", func(c counted) int64 { return c.dead }),
	}
	descQueueWait = desc("queue_wait_seconds",
		"From when tasks were due until they began; delays and backoffs are not in it.", "queue")
	descQueueRun       = desc("queue_run_seconds", "How long handlers of tasks ran.", "queue")
	descSubscriberWait = desc("subscriber_wait_seconds", "From the publication of events until they began.",
		"subscriber", "entity_type")
	descSubscriberRun = desc("subscriber_run_seconds", "How long handlers of events ran.", "subscriber", "entity_type")
)

// counterDescs are the descriptions of all counters and histograms.
func counterDescs() []*prometheus.Desc {
	all := []*prometheus.Desc{descQueueWait, descQueueRun, descSubscriberWait, descSubscriberRun}
	for _, m := range slices.Concat(queueCounters, subscriberCounters) {
		all = append(all, m.desc)
	}
	return all
}

// collectCounters collects what was counted. A queue or a subscriber of which nothing was has zeros: the first of
// anything must be seen as an increase.
func collectCounters(l Live, ch chan<- prometheus.Metric) {
	for _, c := range l.queueTotals {
		collectCounted(ch, c, queueCounters, descQueueWait, descQueueRun, c.name)
	}
	for _, c := range l.subscriberTotals {
		collectCounted(ch, c, subscriberCounters, descSubscriberWait, descSubscriberRun, c.name, c.entityType)
	}
}

func collectCounted(ch chan<- prometheus.Metric, c counted, counters []counterMetric, wait, run *prometheus.Desc,
	labels ...string) {
	send := func(d *prometheus.Desc, m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		ch <- m
	}
	for _, metric := range counters {
		m, err := prometheus.NewConstMetric(metric.desc, prometheus.CounterValue, float64(metric.n(c)), labels...)
		send(metric.desc, m, err)
	}
	for _, of := range []struct {
		desc      *prometheus.Desc
		histogram histogram
		exemplars []prometheus.Exemplar
	}{{wait, c.waits, c.waitExemplars}, {run, c.runs, c.runExemplars}} {
		h := of.histogram
		m, err := prometheus.NewConstHistogram(of.desc, uint64(max(h.count(), 0)), micros(h.micros).Seconds(),
			h.cumulative(), labels...)
		if err == nil && len(of.exemplars) > 0 {
			m, err = prometheus.NewMetricWithExemplars(m, of.exemplars...)
		}
		send(of.desc, m, err)
	}
}

// boundTotals adds the queues and subscribers of which nothing was counted, and leaves out those beyond the bound.
func (l *Live) boundTotals(series int) {
	for _, q := range l.Queues {
		l.queueTotals = with(l.queueTotals, q.Name, "")
	}
	for _, s := range l.Subscribers {
		l.subscriberTotals = with(l.subscriberTotals, s.Name, s.EntityType)
	}
	for _, all := range []*[]counted{&l.queueTotals, &l.subscriberTotals} {
		if len(*all) > series {
			*all, l.Truncated = (*all)[:series], true
		}
	}
}

// with returns totals, in order, with those of a name.
func with(all []counted, name, entityType string) []counted {
	i, found := findCounted(all, name, entityType)
	if found {
		return all
	}
	return slices.Insert(all, i, counted{name: name, entityType: entityType})
}
