package ops

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Overall is the state of a whole installation.
type Overall struct {
	Pending   Count `json:"pending"`
	Scheduled Count `json:"scheduled"`
	Claimed   Count `json:"claimed"`
	// Dead counts dead letters, of tasks and of subscribers.
	Dead Count `json:"dead"`
	// Cancelled counts tasks that were ended by a person or a program, Discarded those that their
	// handlers gave up. Neither is a dead letter.
	Cancelled Count `json:"cancelled"`
	Discarded Count `json:"discarded"`
	// Delivered is what is kept of the done tasks.
	Delivered Count `json:"delivered"`
	// EventsWaiting counts events that wait for the relay, EventsKept those in the feed; Head is the newest position.
	EventsWaiting Count `json:"events_waiting"`
	EventsKept    Count `json:"events_kept"`
	Head          int64 `json:"head"`
	// Deliveries counts the copies of events that failed for a subscriber, and of those behind them.
	Deliveries Count `json:"deliveries"`
	Workers    int64 `json:"workers"`
	// Paused says that all queues are paused; nil where they are not.
	Paused      *Pause `json:"paused,omitempty"`
	Subscribers int64  `json:"subscribers"`
	Schedules   int64  `json:"schedules"`
	// TableBytes is the size of all tables with their indexes; Tables has each partition's.
	TableBytes int64   `json:"table_bytes"`
	Tables     []Table `json:"tables"`
}

// Table is the size of one table, which may be a partition of the outbox table.
type Table struct {
	Name string `json:"name"`
	// Part is what partitions of one kind have in common: tasks, events, deliveries, delivered_tasks,
	// delivered_events, dead; of other tables the name without its prefix.
	Part string `json:"part"`
	// Rows is PostgreSQL's estimate; nil where the table was never analyzed.
	Rows *Count `json:"rows,omitempty"`
	// DeadRows are row versions that wait for vacuum, an estimate too.
	DeadRows   Count `json:"dead_rows"`
	TableBytes int64 `json:"table_bytes"`
	IndexBytes int64 `json:"index_bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

const (
	// sqlOverall reads the state of the installation, counting to $1. It locks nothing.
	sqlOverall = `SELECT s.pending, s.pending_precision, s.scheduled, s.scheduled_precision, s.claimed,
		s.claimed_precision, s.dead, s.dead_precision,
	s.cancelled, s.cancelled_precision, s.discarded, s.discarded_precision,
	s.delivered, s.delivered_precision, s.events_waiting, s.events_waiting_precision, s.events_kept, s.events_head,
	s.deliveries, s.deliveries_precision, (extract(epoch FROM s.counted_for) * 1000000)::bigint,
	s.workers, s.subscribers, s.schedules
FROM {schema}.strunk_overall($1::integer) s`
	// sqlTables reads the sizes of the tables. It takes ACCESS SHARE on each for a moment.
	sqlTables = `SELECT name, part, rows, dead_rows, table_bytes, index_bytes, total_bytes
		FROM {schema}.strunk_table_sizes`
)

// OverallStats returns the state of the whole installation, counting to CountCap at once, with the sizes of its tables.
func OverallStats(ctx context.Context, box *outbox.Box) (o Overall, err error) {
	err = ask(ctx, box, overallQuestion(&o), allPausedQuestion(&o.Paused), tablesQuestion(&o.Tables))
	for _, t := range o.Tables {
		o.TableBytes += t.TotalBytes
	}
	return o, wrap("overall stats", err)
}

func overallQuestion(o *Overall) question {
	var age *int64
	o.EventsKept.Precision = Exact
	return one(sqlOverall, []any{CountCap}, &o.Pending.N, &o.Pending.Precision, &o.Scheduled.N,
		&o.Scheduled.Precision, &o.Claimed.N, &o.Claimed.Precision, &o.Dead.N, &o.Dead.Precision, &o.Cancelled.N,
		&o.Cancelled.Precision, &o.Discarded.N, &o.Discarded.Precision, &o.Delivered.N, &o.Delivered.Precision,
		&o.EventsWaiting.N, &o.EventsWaiting.Precision, &o.EventsKept.N, &o.Head, &o.Deliveries.N,
		&o.Deliveries.Precision, &age, &o.Workers, &o.Subscribers, &o.Schedules).then(func() {
		setAge(age, &o.Pending, &o.Scheduled, &o.Claimed, &o.Dead, &o.Cancelled, &o.Discarded, &o.Delivered,
			&o.EventsWaiting, &o.Deliveries)
	})
}

func tablesQuestion(into *[]Table) question {
	return many(into, sqlTables, nil, func(rows pgx.Rows) (t Table, err error) {
		var live *int64
		err = rows.Scan(&t.Name, &t.Part, &live, &t.DeadRows.N, &t.TableBytes, &t.IndexBytes, &t.TotalBytes)
		if live != nil {
			t.Rows = &Count{N: *live, Precision: Estimate}
		}
		t.DeadRows.Precision = Estimate
		return t, err
	})
}
