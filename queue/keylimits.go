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

// KeyLimits are what is different for a customer key of a queue: its weight in the turns of Limits.Fair, and limits in
// the place of Limits.RunningPerKey and Limits.RatePerKey. What is zero is as for all keys of the queue. They are kept
// in the database, in the table strunk_key_limits, so that a tier, a table of customers or a function decides which key
// has which.
type KeyLimits struct {
	// Weight is how many turns the key gets for each turn of another, from 1 to MaxWeight; zero means 1. It does
	// nothing where the queue is not fair.
	Weight int
	// Running is how many tasks of the key may run at once, from 1 to MaxRunningPerKey. It does nothing where the
	// queue has no RunningPerKey, nor with FIFO.
	Running int
	// Rate bounds how many tasks of the key begin. It does nothing where the queue has no RatePerKey.
	Rate Rate
}

// MaxWeight bounds KeyLimits.Weight.
const MaxWeight = 100

func (l KeyLimits) problems(keys []string) (errs []error) {
	errs = append(errs, checkRange("KeyLimits.Weight", l.Weight, 0, MaxWeight),
		checkRange("KeyLimits.Running", l.Running, 0, MaxRunningPerKey), l.Rate.check("KeyLimits.Rate"))
	for _, key := range keys {
		if err := core.CheckKey(key); err != nil {
			errs = append(errs, fmt.Errorf("customer key %.50q: %w", key, err))
		}
	}
	return errs
}

const (
	// sqlSetKeyLimits sets what is different for keys $2 of queue $1: the weight $3, the limit of running tasks $4, and
	// the rate $5 to $7. In the order of the keys; it holds the admission lock of the queue.
	sqlSetKeyLimits = `SELECT {schema}.strunk_set_key_limits($1::text, k.key, $3::integer, $4::integer, $5::integer,
	$6::bigint * interval '1 microsecond', $7::integer)
FROM unnest($2::text[]) AS k(key)`
	// sqlKeyLimits reads what is different for key $2 of queue $1. It locks nothing.
	sqlKeyLimits = `SELECT coalesce(weight, 0), coalesce(running, 0), coalesce(rate, 0), coalesce(rate_us, 0),
	coalesce(rate_burst, 0)
FROM {schema}.strunk_key_limits WHERE queue = $1::text AND customer_key = $2::text`
)

// SetKeyLimits sets what is different for these customer keys of the queue, all or none of them, for all processes and
// at once; the zero value takes it away. What runs goes on. Errors: [ErrInvalid].
func (q *Queue[T]) SetKeyLimits(ctx context.Context, box *outbox.Box, l KeyLimits, keys ...string) error {
	host, err := q.host(box, "set key limits")
	if err != nil {
		return err
	}
	if err := errors.Join(l.problems(keys)...); err != nil {
		return fmt.Errorf("strunk/queue: set key limits: queue %q: %w: %w", q.Name(), err, ErrInvalid)
	}
	count, us, burst := l.Rate.args()
	err = core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlSetKeyLimits),
		Args: []any{q.Name(), keys, positive(l.Weight), positive(l.Running), count, us, burst}})
	if err != nil {
		return fmt.Errorf("strunk/queue: set key limits: queue %q: %w", q.Name(), err)
	}
	host.WakeLocal(core.TopicQueue(q.Name()))
	return nil
}

// KeyLimits reads what is different for a customer key; the zero value means nothing.
func (q *Queue[T]) KeyLimits(ctx context.Context, box *outbox.Box, key string) (l KeyLimits, err error) {
	host, err := q.host(box, "key limits")
	if err != nil {
		return l, err
	}
	var us int64
	err = host.Pool().QueryRow(ctx, host.SQL(sqlKeyLimits), q.Name(), key).Scan(&l.Weight, &l.Running,
		&l.Rate.Count, &us, &l.Rate.Burst)
	l.Rate.Per = time.Duration(us) * time.Microsecond
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return l, fmt.Errorf("strunk/queue: key limits: queue %q: %w", q.Name(), err)
	}
	return l, nil
}
