package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Queue is the state of one queue.
type Queue struct {
	Name string `json:"name"`
	// Pending tasks wait for a worker, Scheduled ones are not due yet (retries included), Claimed
	// ones are with a worker, Dead ones are dead letters.
	Pending   Count `json:"pending"`
	Scheduled Count `json:"scheduled"`
	Claimed   Count `json:"claimed"`
	Dead      Count `json:"dead"`
	// Cancelled tasks were ended by a person or a program, Discarded ones by their handler. Neither is
	// a dead letter.
	Cancelled Count `json:"cancelled"`
	Discarded Count `json:"discarded"`
	// Delivered is what is kept of the done tasks; nil in lists.
	Delivered *Count `json:"delivered,omitempty"`
	// WaitingSince is when the task at the head of the queue became due, its enqueue at the
	// earliest (of each priority, the first in line), and WaitingFor how long ago that is; nil and
	// 0 where none is pending.
	WaitingSince *time.Time `json:"waiting_since,omitempty"`
	WaitingFor   Duration   `json:"waiting_seconds"`
	// NextDueAt is when the first scheduled task is due; nil where there is none, or only beyond the cap.
	NextDueAt *time.Time `json:"next_due_at,omitempty"`
	// Workers are the processes that work the queue, Concurrency what they handle at once together.
	Workers     int64 `json:"workers"`
	Concurrency int64 `json:"concurrency"`
	// PausedAt is when the queue was paused, by itself or else with all queues; nil where it is not.
	PausedAt *time.Time `json:"paused_at,omitempty"`
	// PausedBy and PauseReason say who has paused it, and why.
	PausedBy    string `json:"paused_by,omitempty"`
	PauseReason string `json:"pause_reason,omitempty"`
	// AllPaused says that all queues are paused: to resume this one alone begins nothing.
	AllPaused bool `json:"all_paused,omitempty"`
	// HeldUntil is when the queue's hold ends; nil where it is not on hold. See Holds for those of customer keys.
	HeldUntil *time.Time `json:"held_until,omitempty"`
}

const (
	queueColumns = `s.queue, s.pending, s.pending_precision, s.scheduled, s.scheduled_precision, s.claimed,
	s.claimed_precision, s.dead, s.dead_precision, s.cancelled, s.cancelled_precision, s.discarded,
	s.discarded_precision, s.delivered, s.delivered_precision,
	(extract(epoch FROM s.counted_for) * 1000000)::bigint, s.waiting_since,
	coalesce(extract(epoch FROM s.waiting_for) * 1000000, 0)::bigint,
	s.next_due_at, s.workers, s.concurrency, s.paused_at,
	coalesce(s.paused_by, ''), coalesce(s.pause_reason, ''), coalesce(s.all_paused, false), s.held_until`
	// sqlQueue reads the state of queue $1, counting to $2. It locks nothing.
	sqlQueue = `SELECT ` + queueColumns + ` FROM {schema}.strunk_queue_states(ARRAY[$1::text], $2::integer, true) s`
	// sqlQueues reads the states of at most $2 queues after the name $1, counting to $3. It locks nothing.
	sqlQueues = `SELECT ` + queueColumns + ` FROM {schema}.strunk_queue_states(
	ARRAY(SELECT q.queue FROM {schema}.strunk_queue_names($1::text, $2::integer) q), $3::integer, false) s`
)

// QueueStats returns the state of one queue, counting to CountCap at once. A queue that nobody uses yet is empty, not
// an error.
func QueueStats(ctx context.Context, box *outbox.Box, queue string) (q Queue, err error) {
	if err := core.CheckName(queue); err != nil {
		return q, fmt.Errorf("strunk/ops: queue stats: the queue's name %w: %w", err, ErrInvalid)
	}
	var found []Queue
	if err := ask(ctx, box, many(&found, sqlQueue, []any{queue, CountCap}, scanQueue)); err != nil {
		return q, wrap("queue stats", err)
	}
	return found[0], nil
}

// Queues returns the states of queues in the order of their names, counting to ListCountCap at once. It
// knows the queues that have a pending task or one that ended without success, a worker, a setting or a schedule,
// and those that had a scheduled task when a process counted last.
func Queues(ctx context.Context, box *outbox.Box, page Page) (all []Queue, err error) {
	return paged(ctx, box, "queues", page, func(into *[]Queue, after string, limit int) question {
		return queuesQuestion(into, after, limit, ListCountCap)
	})
}

func queuesQuestion(into *[]Queue, after string, limit, countCap int) question {
	return many(into, sqlQueues, []any{after, limit, countCap}, scanQueue)
}

func scanQueue(rows pgx.Rows) (q Queue, err error) {
	var delivered, age *int64
	var deliveredPrecision *Precision
	var waiting int64
	err = rows.Scan(&q.Name, &q.Pending.N, &q.Pending.Precision, &q.Scheduled.N, &q.Scheduled.Precision,
		&q.Claimed.N, &q.Claimed.Precision,
		&q.Dead.N, &q.Dead.Precision, &q.Cancelled.N, &q.Cancelled.Precision, &q.Discarded.N,
		&q.Discarded.Precision, &delivered, &deliveredPrecision, &age, &q.WaitingSince, &waiting, &q.NextDueAt,
		&q.Workers, &q.Concurrency, &q.PausedAt, &q.PausedBy, &q.PauseReason,
		&q.AllPaused, &q.HeldUntil)
	q.WaitingFor = micros(waiting)
	if delivered != nil && deliveredPrecision != nil {
		q.Delivered = &Count{N: *delivered, Precision: *deliveredPrecision}
		setAge(age, q.Delivered)
	}
	setAge(age, &q.Pending, &q.Scheduled, &q.Claimed, &q.Dead, &q.Cancelled, &q.Discarded)
	return q, err
}

func micros(n int64) Duration { return Duration{time.Duration(n) * time.Microsecond} }
