package ops

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Worker is the lease of one process on one queue.
type Worker struct {
	ID    int64  `json:"id,string"`
	Queue string `json:"queue"`
	Host  string `json:"host"`
	PID   int    `json:"pid"`
	// Release is the version of the program that works, Library that of strunk in it, as the go command recorded them.
	Release string `json:"release"`
	Library string `json:"library"`
	// Concurrency is how many tasks it handles at once; Claimed counts those it holds, the next ones included.
	Concurrency int       `json:"concurrency"`
	Claimed     Count     `json:"claimed"`
	StartedAt   time.Time `json:"started_at"`
	// SilentFor is how long ago its last heartbeat was, Lease how long it may be silent.
	SilentFor Duration `json:"silent_seconds"`
	Lease     Duration `json:"lease_seconds"`
	// Silent says that its lease is over: when that has been watched for one lease, its tasks are
	// given back (Expired).
	Silent  bool `json:"silent"`
	Expired bool `json:"expired"`
}

// WorkerFilter chooses workers; the zero value chooses the first DefaultLimit of all queues.
type WorkerFilter struct {
	// Queue is the queue's name; empty means any.
	Queue string
	// After is the last id of the page before.
	After int64
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

// sqlWorkers reads at most $3 workers of queue $1 (null: any) after id $2, counting their tasks to
// $4. It locks nothing.
const sqlWorkers = `SELECT s.id, s.queue, s.host, s.pid, s.concurrency, s.claimed, s.claimed_precision,
	(extract(epoch FROM s.counted_for) * 1000000)::bigint, s.started_at,
	(extract(epoch FROM s.silent_for) * 1000000)::bigint, s.lease_ms, s.silent, s.expired,
	s.release, s.library
FROM {schema}.strunk_worker_states($1::text, $2::bigint, $3::integer, $4::integer) s`

// Workers returns the workers in the order of their ids.
func Workers(ctx context.Context, box *outbox.Box, filter WorkerFilter) (all []Worker, err error) {
	n, err := limit(filter.Limit)
	if err == nil {
		err = texts(filter.Queue)
	}
	if err == nil {
		err = ask(ctx, box, many(&all, sqlWorkers, []any{orNull(filter.Queue), filter.After, n, ListCountCap},
			scanWorker))
	}
	return all, wrap("workers", err)
}

func scanWorker(rows pgx.Rows) (w Worker, err error) {
	var silent, lease int64
	var age *int64
	err = rows.Scan(&w.ID, &w.Queue, &w.Host, &w.PID, &w.Concurrency, &w.Claimed.N, &w.Claimed.Precision,
		&age, &w.StartedAt, &silent, &lease, &w.Silent, &w.Expired, &w.Release, &w.Library)
	setAge(age, &w.Claimed)
	w.SilentFor, w.Lease = micros(silent), micros(lease*1000)
	return w, err
}
