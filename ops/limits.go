package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Limits are the limits of one queue that are in force: see [queue.Limits]. What is not limited is
// left out of its JSON.
type Limits struct {
	Queue string `json:"queue"`
	LimitValues
}

// LimitValues are limits without the queue that they are of.
type LimitValues struct {
	// Running is how many tasks may run at once; nil means no limit.
	Running *int `json:"running,omitempty"`
	// RunningPerKey is how many tasks of one customer key may run at once; zero means no limit.
	RunningPerKey int `json:"running_per_key,omitempty"`
	// Rate bounds how many tasks begin, RatePerKey how many of one customer key; nil means no limit.
	Rate       *Rate `json:"rate,omitempty"`
	RatePerKey *Rate `json:"rate_per_key,omitempty"`
	// Fair, FIFO and HoldDead are those of queue.Limits.
	Fair     bool `json:"fair,omitempty"`
	FIFO     bool `json:"fifo"`
	HoldDead bool `json:"hold_dead"`
}

// Rate is Count in Per, of which Burst may begin at once: see [queue.Rate].
type Rate struct {
	Count int      `json:"count"`
	Per   Duration `json:"seconds"`
	Burst int      `json:"burst"`
}

// None reports whether nothing is limited.
func (l LimitValues) None() bool { return l == LimitValues{} }

const (
	limitColumns = `l.queue, l.running, coalesce(l.key_running, 0), coalesce(l.rate, 0), coalesce(l.rate_us, 0),
	coalesce(l.rate_burst, 0), coalesce(l.key_rate, 0), coalesce(l.key_rate_us, 0), coalesce(l.key_rate_burst, 0),
	l.fair, l.fifo, l.hold_dead`
	// sqlQueueLimits reads the limits of queue $1. It locks nothing.
	sqlQueueLimits = `SELECT ` + limitColumns + ` FROM {schema}.strunk_limits l WHERE l.queue = $1::text`
	// sqlListLimits reads the limits of at most $2 queues after the name $1. It locks nothing.
	sqlListLimits = `SELECT ` + limitColumns + ` FROM {schema}.strunk_limits l WHERE l.queue > $1::text COLLATE "C"
	ORDER BY l.queue LIMIT $2::integer`
)

// ListLimits returns the limits of the queues that have any, in the order of the queues' names. Errors: [ErrInvalid].
func ListLimits(ctx context.Context, box *outbox.Box, page Page) (all []Limits, err error) {
	return paged(ctx, box, "list limits", page, func(into *[]Limits, after string, limit int) question {
		return many(into, sqlListLimits, []any{after, limit}, scanLimits)
	})
}

// QueueLimits returns the limits of one queue; without any it has none, and is no error. Errors: [ErrInvalid].
func QueueLimits(ctx context.Context, box *outbox.Box, queue string) (l Limits, err error) {
	if err := core.CheckName(queue); err != nil {
		return l, fmt.Errorf("strunk/ops: queue limits: the queue's name %w: %w", err, ErrInvalid)
	}
	var found []Limits
	if err := ask(ctx, box, many(&found, sqlQueueLimits, []any{queue}, scanLimits)); err != nil {
		return l, wrap("queue limits", err)
	}
	if len(found) == 0 {
		return Limits{Queue: queue}, nil
	}
	return found[0], nil
}

func scanLimits(rows pgx.Rows) (l Limits, err error) {
	var rate, perKey Rate
	var rateMicros, perKeyMicros int64
	err = rows.Scan(&l.Queue, &l.Running, &l.RunningPerKey, &rate.Count, &rateMicros, &rate.Burst, &perKey.Count,
		&perKeyMicros, &perKey.Burst, &l.Fair, &l.FIFO, &l.HoldDead)
	l.Rate, l.RatePerKey = rate.orNil(rateMicros), perKey.orNil(perKeyMicros)
	return l, err
}

// orNil returns the rate in so many microseconds, or nil where there is none.
func (r Rate) orNil(us int64) *Rate {
	if r.Count == 0 {
		return nil
	}
	r.Per = micros(us)
	return &r
}

// SetLimits sets all limits of a queue, for all processes and at once: what l does not say is not limited. It is
// [queue.Queue.SetLimits] by the queue's name, with its errors; a Running of 0 is [ErrInvalid].
func SetLimits(ctx context.Context, box *outbox.Box, queueName string, l LimitValues) error {
	set := queue.Limits{RunningPerKey: l.RunningPerKey, Rate: l.Rate.limit(), RatePerKey: l.RatePerKey.limit(),
		Fair: l.Fair, FIFO: l.FIFO, HoldDead: l.HoldDead}
	if l.Running != nil {
		if set.Running = *l.Running; set.Running < 1 {
			return wrap("set limits", fmt.Errorf("running: %d is not 1 or more; to stop a queue, pause it: %w",
				set.Running, ErrInvalid))
		}
	}
	return untyped(queueName).SetLimits(ctx, box, set)
}

func (r *Rate) limit() queue.Rate {
	if r == nil {
		return queue.Rate{}
	}
	return queue.Rate{Count: r.Count, Per: r.Per.Duration.Round(time.Microsecond), Burst: r.Burst}
}
