package ops

import (
	"cmp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/strunk-go/strunk/internal/core"
)

// counted is what was counted of a queue, or of a subscriber and entity type: see strunk_counters.
type counted struct {
	name, entityType                                                    string
	enqueued, done, failed, retried, parked, dead, cancelled, discarded int64
	waits, runs                                                         histogram
	// exemplars of waits and of runs; where nothing is traced there are none.
	waitExemplars, runExemplars []prometheus.Exemplar
}

// columns are where the columns countedColumns go.
func (c *counted) columns() []any {
	return []any{&c.enqueued, &c.done, &c.failed, &c.retried, &c.parked, &c.dead, &c.cancelled, &c.discarded,
		&c.waits.micros, &c.runs.micros, &c.waits.buckets, &c.runs.buckets}
}

// add adds what was counted of the same at another time.
func (c *counted) add(other counted) {
	c.name, c.entityType = other.name, other.entityType
	c.enqueued += other.enqueued
	c.done += other.done
	c.failed += other.failed
	c.retried += other.retried
	c.parked += other.parked
	c.dead += other.dead
	c.cancelled += other.cancelled
	c.discarded += other.discarded
	c.waits.add(other.waits)
	c.runs.add(other.runs)
}

func (c *counted) failedShare() float64 { return failedShare(c.failed, c.done) }

// failedShare is the share of failed among those that failed or were done, from 0 to 1.
func failedShare(failed, done int64) float64 {
	if failed == 0 {
		return 0
	}
	return float64(failed) / float64(failed+done)
}

// sqlTotals reads what was ever counted of kind $1. It locks nothing.
const sqlTotals = `SELECT s.name, s.entity_type, ` + countedColumns + `
FROM {schema}.strunk_count_totals($1::text) s`

func totalsQuestion(into *[]counted, kind string) question {
	return many(into, sqlTotals, []any{kind}, func(rows pgx.Rows) (c counted, err error) {
		return c, rows.Scan(append([]any{&c.name, &c.entityType}, c.columns()...)...)
	})
}

// findCounted finds what was counted of a name among all, which are in order, or says where it would stand.
func findCounted(all []counted, name, entityType string) (i int, found bool) {
	return slices.BinarySearchFunc(all, counted{name: name, entityType: entityType}, func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.entityType, b.entityType))
	})
}

// exemplarsFor is how old an exemplar may be: traces are not kept for ever.
const exemplarsFor = time.Hour

// sqlExemplars reads the exemplars that are younger than $1 microseconds. It locks nothing.
const sqlExemplars = `SELECT e.kind, e.name, e.entity_type, e.histogram, e.us, e.trace_id, e.at
FROM {schema}.strunk_recent_exemplars($1::bigint * interval '1 microsecond') e`

// exemplarOf is an exemplar of a histogram, "wait" or "run", of a queue or a subscriber.
type exemplarOf struct {
	core.CountersOf
	histogram string
	prometheus.Exemplar
}

func exemplarsQuestion(into *[]exemplarOf) question {
	return many(into, sqlExemplars, []any{exemplarsFor.Microseconds()}, func(rows pgx.Rows) (e exemplarOf, err error) {
		var us int64
		var trace string
		err = rows.Scan(&e.Kind, &e.Name, &e.EntityType, &e.histogram, &us, &trace, &e.Timestamp)
		e.Value, e.Labels = micros(us).Seconds(), prometheus.Labels{"trace_id": trace}
		return e, err
	})
}

// addExemplars gives each of all, which are counted of a kind and in order, its exemplars.
func addExemplars(all []counted, kind string, exemplars []exemplarOf) {
	for _, e := range exemplars {
		i, found := findCounted(all, e.Name, e.EntityType)
		switch {
		case e.Kind != kind || !found:
		case e.histogram == "wait":
			all[i].waitExemplars = append(all[i].waitExemplars, e.Exemplar)
		default:
			all[i].runExemplars = append(all[i].runExemplars, e.Exemplar)
		}
	}
}
