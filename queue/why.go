package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Cause is what keeps a task from running.
type Cause string

// The causes that Why names. Each says which fields of its Reason are set.
const (
	// CauseEnded says that the task has ended: Name is its status, since Since.
	CauseEnded Cause = "ended"
	// CauseCancelling says that the task is to be cancelled: Name is the reason, since Since.
	CauseCancelling Cause = "cancelling"
	// CauseRunning says that worker Name has the task, for its attempt N, since Since.
	CauseRunning Cause = "running"
	// CauseWorkerLost says that worker Name has the task and was last heard of at Since: the rescue
	// will give the task back.
	CauseWorkerLost Cause = "worker_lost"
	// CauseDueLater says that the task is not due before Until. After N attempts Name is the last error.
	CauseDueLater Cause = "due_later"
	// CausePromoterBehind says that the task became due at Since, and no promoter has made it pending.
	CausePromoterBehind Cause = "promoter_behind"
	// CausePaused says that the queue was paused at Since by Name, which says why after a colon.
	CausePaused Cause = "paused"
	// CauseAllPaused says that all queues were paused, as CausePaused does.
	CauseAllPaused Cause = "all_paused"
	// CauseHeld says that the queue is on hold until Until, since Since, by Name: see Hold.
	CauseHeld Cause = "held"
	// CauseKeyHeld says the same of the task's customer key: see HoldKey.
	CauseKeyHeld Cause = "key_held"
	// CauseNoWorker says that no process works the queue Name.
	CauseNoWorker Cause = "no_worker"
	// CauseKeyHeldByDead says that dead letter TaskID keeps the customer key waiting, see Limits.HoldDead.
	CauseKeyHeldByDead Cause = "key_held_by_dead"
	// CauseKeyFull says that task TaskID, in status Name after N attempts, has a slot of the customer
	// key; where it waits for another attempt, that is due at Until.
	CauseKeyFull Cause = "key_full"
	// CauseKeyRate says that the rate of the customer key lets the next task begin at Until.
	CauseKeyRate Cause = "key_rate"
	// CauseBehindInKey says that N tasks of its customer key come first.
	CauseBehindInKey Cause = "behind_in_key"
	// CauseBehindInTurn says that N customer keys have their turns before its own, see Limits.Fair.
	CauseBehindInTurn Cause = "behind_in_turn"
	// CauseQueueFull says that task TaskID, in its attempt N since Since, has one of the places that
	// the queue's limit leaves.
	CauseQueueFull Cause = "queue_full"
	// CauseQueueRate says that the rate of the queue lets the next task begin at Until.
	CauseQueueRate Cause = "queue_rate"
	// CauseWorkersBusy says that the queue's workers have the N tasks that they handle at once.
	CauseWorkersBusy Cause = "workers_busy"
	// CauseHigherPriority says that N pending tasks of a higher priority come first.
	CauseHigherPriority Cause = "higher_priority"
	// CauseBehind says that N pending tasks of the same priority come first.
	CauseBehind Cause = "behind"
)

// Reason is one thing that keeps a task from running. See the constants of Cause for what is set.
type Reason struct {
	Cause Cause `json:"cause"`
	// Text says it for people; its wording may change.
	Text   string     `json:"text"`
	Since  *time.Time `json:"since,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	TaskID int64      `json:"task_id,omitempty"`
	N      int64      `json:"n,omitempty"`
	Name   string     `json:"name,omitempty"`
}

const (
	// sqlWhyTask says whether task $1 is in queue $2 (empty: any), by the database's clock.
	sqlWhyTask = `SELECT {schema}.strunk_now() FROM {schema}.strunk_outbox
WHERE id = $1 AND kind = 'task' AND ($2 = '' OR key = $2) LIMIT 1`
	// sqlWhy lists what keeps task $1 from running. It locks nothing.
	sqlWhy = `SELECT w.cause, w.since, w.until, coalesce(w.task_id, 0), coalesce(w.n, 0), coalesce(w.name, '')
FROM {schema}.strunk_why($1::bigint) w`
)

// Why says why a task does not run (any more, or yet), the most decisive cause first, by what the
// tables hold: whatever process works the queue. A task that a worker is about to take has none. An
// empty queue name means whichever queue has the task. Numbers of tasks are counted to 1,000, and
// at most five tasks that have a slot are named. Errors: [ErrInvalid], [ErrNotFound].
func Why(ctx context.Context, box *outbox.Box, queueName string, id int64) ([]Reason, error) {
	if box == nil {
		return nil, fmt.Errorf("strunk/queue: why: the box is nil: %w", ErrInvalid)
	}
	if err := core.CheckText(queueName); err != nil {
		return nil, fmt.Errorf("strunk/queue: why: queue %q %w: %w", queueName, err, ErrInvalid)
	}
	reasons, err := readWhy(ctx, core.BoxHost(box), queueName, id)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: why: task %d: %w", id, err)
	}
	return reasons, nil
}

func readWhy(ctx context.Context, host core.Host, queueName string, id int64) ([]Reason, error) {
	var now time.Time
	err := host.Pool().QueryRow(ctx, host.SQL(sqlWhyTask), id, queueName).Scan(&now)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	rows, err := host.Pool().Query(ctx, host.SQL(sqlWhy), id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Reason, err error) {
		err = row.Scan(&r.Cause, &r.Since, &r.Until, &r.TaskID, &r.N, &r.Name)
		r.Text = r.say(now)
		return r, err
	})
}
