package ops

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// KeyLimits are what is different for one customer key of a queue: see [queue.KeyLimits]. What is as for all keys
// is left out of its JSON.
type KeyLimits struct {
	Queue       string `json:"queue"`
	CustomerKey string `json:"customer_key"`
	// Weight is how many turns the key gets for each turn of another; zero means 1.
	Weight int `json:"weight,omitempty"`
	// Running is how many of its tasks may run at once; zero means what the queue has for all keys.
	Running int `json:"running,omitempty"`
	// Rate bounds how many of its tasks begin; nil means what the queue has for all keys.
	Rate *Rate `json:"rate,omitempty"`
}

// sqlListKeyLimits reads what is different for at most $3 keys of queue $1, after key $2. It locks nothing.
const sqlListKeyLimits = `SELECT l.queue, l.customer_key, coalesce(l.weight, 0), coalesce(l.running, 0),
	coalesce(l.rate, 0), coalesce(l.rate_us, 0), coalesce(l.rate_burst, 0)
FROM {schema}.strunk_key_limits l WHERE l.queue = $1::text AND l.customer_key > $2::text COLLATE "C"
ORDER BY l.customer_key LIMIT $3::integer`

// ListKeyLimits returns what is different for customer keys of a queue, in the order of the keys. Errors: [ErrInvalid].
func ListKeyLimits(ctx context.Context, box *outbox.Box, queueName string, page Page) (all []KeyLimits, err error) {
	if err := core.CheckName(queueName); err != nil {
		return nil, wrap("list key limits", fmt.Errorf("the queue's name %w: %w", err, ErrInvalid))
	}
	return paged(ctx, box, "list key limits", page, func(into *[]KeyLimits, after string, limit int) question {
		return many(into, sqlListKeyLimits, []any{queueName, after, limit}, scanKeyLimits)
	})
}

func scanKeyLimits(rows pgx.Rows) (l KeyLimits, err error) {
	var rate Rate
	var us int64
	err = rows.Scan(&l.Queue, &l.CustomerKey, &l.Weight, &l.Running, &rate.Count, &us, &rate.Burst)
	l.Rate = rate.orNil(us)
	return l, err
}

// SetKeyLimits sets what is different for one customer key, for all processes and at once. It is
// [queue.Queue.SetKeyLimits] by the queue's name, with its errors; neither a weight nor a limit is [ErrInvalid].
func SetKeyLimits(ctx context.Context, box *outbox.Box, l KeyLimits) error {
	set := queue.KeyLimits{Weight: l.Weight, Running: l.Running, Rate: l.Rate.limit()}
	if set == (queue.KeyLimits{}) {
		return wrap("set key limits", fmt.Errorf("neither weight, running nor rate is different; to take away what "+
			"is, delete it: %w", ErrInvalid))
	}
	return untyped(l.Queue).SetKeyLimits(ctx, box, set, l.CustomerKey)
}

// DeleteKeyLimits makes a customer key of a queue one as all others, and reports whether it was not.
// Errors: [ErrInvalid].
func DeleteKeyLimits(ctx context.Context, box *outbox.Box, queueName, customerKey string) (deleted bool, err error) {
	if err := core.CheckKey(customerKey); err != nil {
		return false, wrap("delete key limits", fmt.Errorf("the customer key %w: %w", err, ErrInvalid))
	}
	q := untyped(queueName)
	l, err := q.KeyLimits(ctx, box, customerKey)
	if err != nil || l == (queue.KeyLimits{}) {
		return false, err
	}
	return true, q.SetKeyLimits(ctx, box, queue.KeyLimits{}, customerKey)
}
