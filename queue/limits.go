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

// Limits hold over all processes that work a queue. The zero value is no limit. Those of keys
// concern tasks that were enqueued with [CustomerKey]; a task without one runs beside them, under
// the limits of the queue alone.
//
// Declared in Config they take effect when a worker starts, and differ from what was declared before; a change at run
// time, by Queue.SetLimits or strunk_set_limits, holds until then. See docs/limits.md for what each costs.
type Limits struct {
	// Running is how many tasks of the queue may run at once; zero means no limit.
	Running int
	// RunningPerKey is how many tasks of one key may run at once; zero means no limit.
	RunningPerKey int
	// Rate bounds how many tasks of the queue begin, attempts counted singly.
	Rate Rate
	// RatePerKey bounds how many tasks of one key begin.
	RatePerKey Rate
	// FIFO runs the tasks of a key one at a time, in the order in which they were enqueued. A task
	// that is tried again keeps its key's slot meanwhile.
	FIFO bool
	// HoldDead makes a dead letter keep its key's slot too, until it is retried or purged; without
	// it the next task of the key runs. Only with FIFO.
	HoldDead bool
	// Fair lets the keys take turns: while tasks of a key wait, no other key begins more of its own, but by its weight
	// (see KeyLimits). It bounds nothing.
	Fair bool
	// Version makes limits that were declared before a new declaration. SetLimits ignores it.
	Version int
}

// Rate is Count in Per, by the database's clock: each begins Per/Count after the one before, but up
// to Burst at once when none has for long enough. So in no span of Per more than Count + Burst - 1
// begin. The zero value is no limit.
type Rate struct {
	Count int
	Per   time.Duration
	// Burst zero means 1.
	Burst int
}

// Bounds of limits.
const (
	// MaxRunningPerKey bounds Limits.RunningPerKey.
	MaxRunningPerKey = 10_000
	// MaxRunning bounds Limits.Running, Rate.Count and Rate.Burst.
	MaxRunning = 1_000_000
)

// maxRatePer bounds Rate.Per.
const maxRatePer = 366 * 24 * time.Hour

func (l Limits) problems() (errs []error) {
	errs = append(errs, checkRange("Limits.Running", l.Running, 0, MaxRunning),
		checkRange("Limits.RunningPerKey", l.RunningPerKey, 0, MaxRunningPerKey),
		l.Rate.check("Limits.Rate"), l.RatePerKey.check("Limits.RatePerKey"))
	if l.FIFO && l.RunningPerKey > 1 {
		errs = append(errs, fmt.Errorf("Limits.RunningPerKey: %d, but with FIFO one task of a key runs at a time: "+
			"leave it out", l.RunningPerKey))
	}
	if l.HoldDead && !l.FIFO {
		errs = append(errs, errors.New("Limits.HoldDead: only with FIFO"))
	}
	return errs
}

func (r Rate) check(name string) error {
	switch {
	case r == Rate{}:
		return nil
	case r.Count < 1 || r.Count > MaxRunning:
		return fmt.Errorf("%s.Count: %d is not from 1 to %d", name, r.Count, MaxRunning)
	case r.Per > maxRatePer || r.Per.Microseconds() < int64(r.Count):
		return fmt.Errorf("%s.Per: %v is not from a microsecond for each of Count to %v", name, r.Per, maxRatePer)
	case r.Burst < 0 || r.Burst > MaxRunning:
		return fmt.Errorf("%s.Burst: %d is not from 1 to %d (0 means 1)", name, r.Burst, MaxRunning)
	case float64(r.Burst)*float64(r.Per.Microseconds())/float64(r.Count) > 1e17: // the database counts in 64 bits
		return fmt.Errorf("%s.Burst: %d is more than the rate lets begin in 3000 years", name, r.Burst)
	}
	return nil
}

// args are a rate's parameters: null for none.
func (r Rate) args() (count *int, micros *int64, burst *int) {
	if r == (Rate{}) {
		return nil, nil, nil
	}
	us, b := r.Per.Microseconds(), max(r.Burst, 1)
	return &r.Count, &us, &b
}

func positive(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func (l Limits) args(queue string) []any {
	count, us, burst := l.Rate.args()
	keyCount, keyUS, keyBurst := l.RatePerKey.args()
	return []any{queue, positive(l.Running), positive(l.RunningPerKey), count, us, burst, keyCount, keyUS, keyBurst,
		l.FIFO, l.HoldDead, l.Fair}
}

// CustomerKey names what a task belongs to (a customer, an account), for the limits per key and for
// FIFO: see [Limits]. It is text of 1 to 500 bytes. Without such limits it does nothing.
func CustomerKey(key string) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.customerKey = &key })
}

const (
	// sqlDeclareLimits declares limits ($2 to $12) of queue $1; $13 is their version.
	sqlDeclareLimits = `SELECT {schema}.strunk_declare_limits($1::text, $2::integer, $3::integer, $4::integer,
		$5::bigint, $6::integer,
$7::integer, $8::bigint, $9::integer, $10::boolean, $11::boolean, $12::boolean, $13::integer)`
	// sqlSetLimits sets them.
	sqlSetLimits = `SELECT {schema}.strunk_set_limits($1::text, $2::integer, $3::integer,
$4::integer, $5::bigint * interval '1 microsecond', $6::integer, $7::integer,
$8::bigint * interval '1 microsecond', $9::integer,
$10::boolean, $11::boolean, $12::boolean)`
	// sqlLimits reads the limits of queue $1. It locks nothing.
	sqlLimits = `SELECT version, coalesce(running, 0), running IS NOT NULL, coalesce(key_running, 0),
		coalesce(rate, 0), coalesce(rate_us, 0), coalesce(rate_burst, 0),
coalesce(key_rate, 0), coalesce(key_rate_us, 0), coalesce(key_rate_burst, 0), fifo, hold_dead, fair
FROM {schema}.strunk_limits WHERE queue = $1::text`
)

// SetLimits changes the limits of the queue for all processes, at once. What runs already goes on;
// a limit of keys, or FIFO, does not count what began, or was called from its key's line, under
// other limits: see docs/limits.md. It holds until another change, or until a worker starts whose
// program declares other limits than were declared last. Errors: [ErrInvalid].
func (q *Queue[T]) SetLimits(ctx context.Context, box *outbox.Box, l Limits) error {
	host, err := q.host(box, "set limits")
	if err != nil {
		return err
	}
	if err := errors.Join(l.problems()...); err != nil {
		return fmt.Errorf("strunk/queue: set limits: queue %q: %w: %w", q.Name(), err, ErrInvalid)
	}
	err = core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlSetLimits), Args: l.args(q.Name())})
	if err != nil {
		return fmt.Errorf("strunk/queue: set limits: queue %q: %w", q.Name(), err)
	}
	host.WakeLocal(core.TopicControl(q.Name()), core.TopicQueue(q.Name()))
	return nil
}

// Limits reads the limits that are in force.
func (q *Queue[T]) Limits(ctx context.Context, box *outbox.Box) (Limits, error) {
	host, err := q.host(box, "limits")
	if err != nil {
		return Limits{}, err
	}
	rows, err := host.Pool().Query(ctx, host.SQL(sqlLimits), q.Name())
	if err != nil {
		return Limits{}, fmt.Errorf("strunk/queue: limits: queue %q: %w", q.Name(), err)
	}
	var in inForce
	if err := scanLimits(rows, &in); err != nil {
		return Limits{}, fmt.Errorf("strunk/queue: limits: queue %q: %w", q.Name(), err)
	}
	return in.Limits, nil
}

// inForce are the limits that a session obeys; the zero value is none.
type inForce struct {
	Limits
	version int64
	bounded bool // Running is limited: also to 0
}

// rated reports whether claims pay for rates.
func (l *inForce) rated() bool { return l.Rate.Count > 0 || l.RatePerKey.Count > 0 }

// keyed reports whether tasks with customer keys are admitted under limits, or in turn.
func (l *inForce) keyed() bool { return l.releases() || l.Fair }

// releases reports whether the end of a task may let another of its key begin.
func (l *inForce) releases() bool { return l.FIFO || l.RunningPerKey > 0 || l.RatePerKey.Count > 0 }

// exact reports whether a task must begin as soon as it is claimed.
func (l *inForce) exact() bool { return l.bounded || l.rated() }

func scanLimits(rows pgx.Rows, in *inForce) error {
	defer rows.Close()
	*in = inForce{}
	for rows.Next() {
		var us, keyUS int64
		err := rows.Scan(&in.version, &in.Running, &in.bounded, &in.RunningPerKey, &in.Rate.Count, &us, &in.Rate.Burst,
			&in.RatePerKey.Count, &keyUS, &in.RatePerKey.Burst, &in.FIFO, &in.HoldDead,
			&in.Fair)
		if err != nil {
			return err
		}
		in.Rate.Per, in.RatePerKey.Per = time.Duration(us)*time.Microsecond, time.Duration(keyUS)*time.Microsecond
	}
	return rows.Err()
}
