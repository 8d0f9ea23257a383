package ops

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// untyped is a queue known by its name alone.
func untyped(name string) *queue.Queue[json.RawMessage] {
	return queue.Define[json.RawMessage](name, queue.Config{})
}

func onQueue(id, verb, summary string, run func(*queue.Queue[json.RawMessage], context.Context,
	*outbox.Box) error) operation {
	return changing(id, "/v1/queues/{queue}/"+verb, summary, func(c *call, _ none) (Done, error) {
		name, err := c.name("queue")
		if err != nil {
			return Done{}, err
		}
		return Done{Changed: 1}, run(untyped(name), c.ctx, c.box)
	})
}

func onSubscriber[B any](id, verb, summary string, run func(c *call, name string, body B) (int64, error)) operation {
	return changing(id, "/v1/subscribers/{subscriber}/"+verb, summary, func(c *call, body B) (Done, error) {
		name, err := c.name("subscriber")
		if err != nil {
			return Done{}, err
		}
		n, err := run(c, name, body)
		return Done{Changed: n}, err
	})
}

// rewinding is onSubscriber for what sets its cursor back; its answer says where the cursor was.
func rewinding[B any](id, verb, summary string, run func(c *call, name string, body B) error) operation {
	return changing(id, "/v1/subscribers/{subscriber}/"+verb, summary, func(c *call, body B) (d Done, err error) {
		name, err := c.name("subscriber")
		if err != nil {
			return d, err
		}
		var cursor int64
		err = notFoundWithout(ask(c.ctx, c.box, one(sqlCursor, []any{name}, &cursor)), "subscriber %q", name)
		if err == nil {
			err = run(c, name, body)
		}
		return Done{Changed: 1, State: fmt.Sprintf("the cursor was at %d", cursor)}, err
	})
}

// sqlCursor reads the cursor of subscriber $1. It locks nothing.
const sqlCursor = `SELECT s.cursor FROM {schema}.strunk_subscribers s WHERE s.name = $1::text`

func onSchedule(id, verb, summary string, run func(c *call, id string) (Done, error)) operation {
	return changing(id, "/v1/schedules/{schedule}/"+verb, summary, func(c *call, _ none) (Done, error) {
		name, err := c.name("schedule")
		if err != nil {
			return Done{}, err
		}
		return run(c, name)
	})
}

func changeDead(c *call, b DeadSelection, change func(context.Context, *outbox.Box, outbox.DeadFilter) (int,
	error)) (Done, error) {
	f, err := b.selected()
	if err != nil {
		return Done{}, err
	}
	n, err := change(c.ctx, c.box, f)
	return Done{Changed: int64(n)}, err
}

// retryDeadEvents wants ids: events that come late may be older than what their subscriber has seen since.
func retryDeadEvents(c *call, name string, b IDsBody) (int64, error) {
	if len(b.IDs) == 0 || len(b.IDs) > MaxChange {
		return 0, fmt.Errorf("ids: give 1 to %d: %w", MaxChange, ErrInvalid)
	}
	if _, err := SubscriberStats(c.ctx, c.box, name); err != nil {
		return 0, err
	}
	return events.RetryDead(c.ctx, c.box, name, b.IDs...)
}

func cancelTask(c *call, b CancelBody) (Done, error) {
	id, err := c.id()
	if err != nil {
		return Done{}, err
	}
	t, err := Task(c.ctx, c.box, id)
	switch {
	case err != nil:
		return Done{}, err
	case t.Kind != KindTask:
		return Done{}, fmt.Errorf("task %d: %w", id, ErrNotFound)
	}
	state, err := untyped(t.Queue).Cancel(c.ctx, c.box, id, b.Reason)
	if err != nil {
		return Done{}, err
	}
	done := Done{State: string(state)}
	if state != queue.CancelTooLate {
		done.Changed = 1
	}
	return done, nil
}
