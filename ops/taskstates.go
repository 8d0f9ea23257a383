package ops

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// TaskState says where a task, or a subscriber's copy of an event, has come to.
type TaskState struct {
	ID     int64        `json:"id"`
	Kind   Kind         `json:"kind"`
	Status queue.Status `json:"status"`
	// Queue is the queue's name of a task, Subscriber whom a delivery is for.
	Queue      string `json:"queue,omitempty"`
	Subscriber string `json:"subscriber,omitempty"`
}

// sqlTaskStates reads where the tasks and deliveries $1 have come to, in the order of $1; those that are not there
// are left out. It locks nothing.
const sqlTaskStates = `SELECT i.id, o.kind, o.status, o.key, coalesce(o.subscriber, '')
FROM unnest($1::bigint[]) WITH ORDINALITY AS i(id, place) CROSS JOIN LATERAL (
	SELECT t.kind, t.status, t.key, t.subscriber FROM {schema}.strunk_task(i.id) t
	UNION ALL SELECT d.kind, d.status, d.key, d.subscriber FROM {schema}.strunk_outbox_deliveries d WHERE d.id = i.id
	UNION ALL SELECT d.kind, d.status, d.key, d.subscriber FROM {schema}.strunk_outbox_dead d
		WHERE d.id = i.id AND d.kind = 'delivery'
	LIMIT 1) o
ORDER BY i.place`

// TaskStates returns where tasks of any queue and copies of events have come to, in the order of the ids, at most
// MaxChange; those that are not there are left out. Errors: [ErrInvalid].
func TaskStates(ctx context.Context, box *outbox.Box, ids ...int64) (all []TaskState, err error) {
	if len(ids) > MaxChange {
		err = fmt.Errorf("%d ids are more than %d: %w", len(ids), MaxChange, ErrInvalid)
	} else {
		err = ask(ctx, box, many(&all, sqlTaskStates, []any{ids}, scanTaskState))
	}
	return all, wrap("task states", err)
}

func scanTaskState(rows pgx.Rows) (s TaskState, err error) {
	var key string
	err = rows.Scan(&s.ID, &s.Kind, &s.Status, &key, &s.Subscriber)
	s.Queue, _ = s.Kind.named(key)
	return s, err
}
