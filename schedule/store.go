package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	// sqlNow reads the database's clock.
	sqlNow = `SELECT {schema}.strunk_now()`
	// sqlPut registers a schedule; see strunk_schedule_put.
	sqlPut = `SELECT {schema}.strunk_schedule_put($1::text, $2::text, $3::text, $4::text, $5::timestamptz,
		$6::text, $7::integer,
	$8::text, $9::text, $10::text, $11::smallint, $12::smallint, $13::integer, $14::boolean)`
	// sqlSwitch enables or disables ($2) schedule $1, due next at $3.
	sqlSwitch = `SELECT {schema}.strunk_schedule_switch($1::text, $2::boolean, $3::timestamptz, $4::boolean)`
	// sqlRemove removes schedule $1.
	sqlRemove = `SELECT {schema}.strunk_schedule_remove($1::text)`
	// sqlRunNow enqueues schedule $1's task now.
	sqlRunNow = `SELECT {schema}.strunk_schedule_run_now($1::text)`
	// sqlEntries reads the schedule $1, or all where it is null. It locks nothing.
	sqlEntries = `SELECT id, queue, spec, time_zone, misfire, misfire_cap, payload::text, enabled, next_due, last_due,
	coalesce(last_task_id, 0), coalesce(last_error, ''), created_at, updated_at
FROM {schema}.strunk_schedules WHERE $1::text IS NULL OR id = $1::text ORDER BY id`
)

// inTx runs fn in the caller's transaction, or in one of its own where there is none.
func inTx(ctx context.Context, box *outbox.Box, o callOptions, what, id string, fn func(tx core.Tx) error) error {
	wrap := func(err error) error { return fmt.Errorf("strunk/schedule: %s %q: %w", what, clip(id), err) }
	if err := core.CheckName(id); err != nil {
		return wrap(fmt.Errorf("the id %w: %w", err, ErrInvalid))
	}
	if o.tx != nil {
		tx := core.TxOf(o.tx)
		if err := tx.Validate(); err != nil {
			return wrap(err)
		}
		if err := fn(tx); err != nil {
			return wrap(err)
		}
		return nil
	}
	if box == nil {
		return wrap(fmt.Errorf("the box is nil: %w", ErrInvalid))
	}
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error { return fn(core.TxOf(tx)) })
	if err != nil {
		return wrap(err)
	}
	return nil
}

func register(ctx context.Context, box *outbox.Box, id string, item queue.Item, spec string,
	o registerOptions) (e Entry, err error) {
	task, parsed, err := check(id, item, spec, o)
	if err != nil {
		return e, err
	}
	err = inTx(ctx, box, o.callOptions, "register", id, func(tx core.Tx) error {
		now, err := queryOne[time.Time](ctx, tx, sqlNow)
		if err != nil {
			return err
		}
		inside := tx.NotifyInside()
		_, err = queryOne[any](ctx, tx, sqlPut, id, task.Queue, spec, parsed.zone, parsed.Next(now),
			o.misfire.policy, o.misfire.most,
			task.Payload, task.Metadata, task.DedupKey, task.Priority, task.MaxAttempts, task.TimeoutMS,
			inside)
		if err != nil {
			return err
		}
		core.Announce(tx, inside, core.TopicSchedule)
		e, err = entry(ctx, tx, id)
		return err
	})
	return e, err
}

// check reports everything that is wrong with a registration.
func check(id string, item queue.Item, spec string, o registerOptions) (core.StoredItem, Spec, error) {
	var problems []error
	refuse := func(err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("strunk/schedule: register %q: %w: %w", clip(id), err, ErrInvalid))
		}
	}
	task, err := queuelink.Stored(item)
	refuse(err)
	parsed, err := Parse(spec, o.zone)
	if err != nil {
		problems = append(problems, err)
	}
	if task.Timed {
		refuse(errTimed)
	}
	refuse(checkPayload(task.Payload))
	refuse(o.misfire.check())
	return task, parsed, errors.Join(problems...)
}

func enable(ctx context.Context, box *outbox.Box, id string, opts []Option) error {
	return inTx(ctx, box, newCallOptions(opts), "enable", id, func(tx core.Tx) error {
		e, err := entry(ctx, tx, id)
		if err != nil {
			return err
		}
		spec, err := Parse(e.Spec, e.TimeZone)
		if err != nil {
			return err
		}
		now, err := queryOne[time.Time](ctx, tx, sqlNow)
		if err != nil {
			return err
		}
		return flip(ctx, tx, id, true, spec.timer.after(e.NextDue, now))
	})
}

func disable(ctx context.Context, box *outbox.Box, id string, opts []Option) error {
	return inTx(ctx, box, newCallOptions(opts), "disable", id, func(tx core.Tx) error {
		return flip(ctx, tx, id, false, time.Time{})
	})
}

func flip(ctx context.Context, tx core.Tx, id string, enabled bool, next time.Time) error {
	inside := tx.NotifyInside()
	there, err := queryOne[bool](ctx, tx, sqlSwitch, id, enabled, next, inside)
	if err != nil {
		return err
	}
	if !there {
		return ErrNotFound
	}
	core.Announce(tx, inside, core.TopicSchedule)
	return nil
}

func remove(ctx context.Context, box *outbox.Box, id string, opts []Option) error {
	return inTx(ctx, box, newCallOptions(opts), "remove", id, func(tx core.Tx) error {
		there, err := queryOne[bool](ctx, tx, sqlRemove, id)
		if err == nil && !there {
			err = ErrNotFound
		}
		return err
	})
}

func runNow(ctx context.Context, box *outbox.Box, id string, opts []Option) (task int64, err error) {
	err = inTx(ctx, box, newCallOptions(opts), "run now", id, func(tx core.Tx) error {
		found, err := queryOne[*int64](ctx, tx, sqlRunNow, id)
		if err == nil && found == nil {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		task = *found
		return nil
	})
	return task, err
}

func list(ctx context.Context, box *outbox.Box) ([]Entry, error) {
	if box == nil {
		return nil, fmt.Errorf("strunk/schedule: list: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sqlEntries), nil)
	if err != nil {
		return nil, fmt.Errorf("strunk/schedule: list: %w", err)
	}
	defer rows.Close()
	all, err := scanEntries(rows)
	if err != nil {
		return nil, fmt.Errorf("strunk/schedule: list: %w", err)
	}
	return all, nil
}

func get(ctx context.Context, box *outbox.Box, id string, opts []Option) (e Entry, err error) {
	err = inTx(ctx, box, newCallOptions(opts), "get", id, func(tx core.Tx) (err error) {
		e, err = entry(ctx, tx, id)
		return err
	})
	return e, err
}

func entry(ctx context.Context, tx core.Tx, id string) (e Entry, err error) {
	err = tx.Query(ctx, tx.Host().SQL(sqlEntries), []any{id}, func(rows core.Rows) error {
		found, err := scanEntries(rows)
		if err == nil && len(found) == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		e = found[0]
		return nil
	})
	return e, err
}

func scanEntries(rows core.Rows) (all []Entry, err error) {
	for rows.Next() {
		var e Entry
		var last *time.Time
		var payload string
		err := rows.Scan(&e.ID, &e.Queue, &e.Spec, &e.TimeZone, &e.Misfire.policy, &e.Misfire.most, &payload,
			&e.Enabled,
			&e.NextDue, &last, &e.LastTaskID, &e.LastError, &e.CreatedAt, &e.UpdatedAt)
		if err != nil {
			return nil, err
		}
		if last != nil {
			e.LastDue = *last
		}
		e.Payload = []byte(payload)
		all = append(all, e)
	}
	return all, rows.Err()
}

// queryOne runs a statement that returns one value.
func queryOne[T any](ctx context.Context, tx core.Tx, sql string, args ...any) (v T, err error) {
	err = tx.Query(ctx, tx.Host().SQL(sql), args, func(rows core.Rows) error {
		if rows.Next() {
			return rows.Scan(&v)
		}
		return rows.Err()
	})
	return v, err
}

// clip keeps an overlong id out of an error text.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
