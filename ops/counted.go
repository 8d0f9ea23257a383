package ops

import "github.com/jackc/pgx/v5"

// counted is what was counted of a queue, or of a subscriber and entity type: see strunk_counters.
type counted struct {
	name, entityType                                                    string
	enqueued, done, failed, retried, parked, dead, cancelled, discarded int64
	waits, runs                                                         histogram
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

func (c *counted) failedShare() float64 {
	if c.failed == 0 {
		return 0
	}
	return float64(c.failed) / float64(c.failed+c.done)
}

// sqlTotals reads what was ever counted of kind $1. It locks nothing.
const sqlTotals = `SELECT s.name, s.entity_type, ` + countedColumns + `
FROM {schema}.strunk_count_totals($1::text) s`

func totalsQuestion(into *[]counted, kind string) question {
	return many(into, sqlTotals, []any{kind}, func(rows pgx.Rows) (c counted, err error) {
		return c, rows.Scan(append([]any{&c.name, &c.entityType}, c.columns()...)...)
	})
}
