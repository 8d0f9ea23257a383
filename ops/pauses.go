package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Pause says since when, by whom and why all queues are paused.
type Pause struct {
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// NewPause is a pause to be made.
type NewPause struct {
	// Queue is the queue; All instead means all queues, those that appear later too: see queue.PauseAll.
	Queue string
	All   bool
	// Reason is for those who find the queue paused.
	Reason string
	// By is who pauses it; empty means the role and what its connection calls itself.
	By string
}

const (
	// sqlPauseQueue pauses queue $1 for the reason $2, by $3.
	sqlPauseQueue = `SELECT {schema}.strunk_pause_queue($1::text, $2::text, $3::text)`
	// sqlPauseAll pauses all queues for the reason $1, by $2.
	sqlPauseAll = `SELECT q FROM {schema}.strunk_pause_all($1::text, $2::text) q`
	// sqlAllPaused reads the pause of all queues. It locks nothing.
	sqlAllPaused = `SELECT a.paused_at, a.paused_by, a.reason FROM {schema}.strunk_all_paused a`
)

// PauseQueues pauses a queue, or all, as queue.Pause and queue.PauseAll do, in the name of somebody.
// Errors: [ErrInvalid].
func PauseQueues(ctx context.Context, box *outbox.Box, p NewPause) error {
	reason, by := core.CleanText(p.Reason, core.MaxErrorBytes), core.CleanText(p.By, core.MaxErrorBytes)
	var err error
	switch {
	case p.All == (p.Queue != ""):
		err = fmt.Errorf("give NewPause.Queue or All: %w", ErrInvalid)
	case p.All:
		err = pause(ctx, box, sqlPauseAll, reason, by)
	default:
		if err = checkHeld(p.Queue, ""); err == nil {
			err = pause(ctx, box, sqlPauseQueue, p.Queue, reason, by)
		}
	}
	if err == nil && !p.All {
		core.BoxHost(box).WakeLocal(core.TopicControl(p.Queue))
	}
	return wrap("pause", err)
}

func pause(ctx context.Context, box *outbox.Box, sql string, args ...any) error {
	if box == nil {
		return fmt.Errorf("the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	return core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sql), Args: args})
}

// allPausedQuestion asks for the pause of all queues; nil where they are not paused.
func allPausedQuestion(into **Pause) question {
	var p Pause
	q := one(sqlAllPaused, nil, &p.Since, &p.By, &p.Reason).then(func() { *into = &p })
	read := q.scan
	q.scan = func(rows pgx.Rows) error {
		if err := read(rows); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil
	}
	return q
}

// PauseBody is the body of pause_queue and pause_all_queues.
type PauseBody struct {
	Reason string `json:"reason,omitempty"`
}

// pauses are the operations that pause and resume queues.
func pauses() []operation {
	return []operation{
		changing("pause_queue", "/v1/queues/{queue}/pause", "Begin no more tasks of the queue",
			func(c *call, b PauseBody) (Done, error) {
				name, err := c.name("queue")
				if err != nil {
					return Done{}, err
				}
				p := NewPause{Queue: name, Reason: b.Reason, By: c.actor()}
				return Done{Changed: 1}, PauseQueues(c.ctx, c.box, p)
			}),
		onQueue("resume_queue", "resume", "End a pause", (*queue.Queue[json.RawMessage]).Resume),
		changing("pause_all_queues", "/v1/pause-all", "Begin no more tasks of any queue",
			func(c *call, b PauseBody) (Done, error) {
				return Done{Changed: 1}, PauseQueues(c.ctx, c.box, NewPause{All: true, Reason: b.Reason, By: c.actor()})
			}),
		changing("resume_all_queues", "/v1/resume-all", "End a pause of all queues; a queue that is paused by itself "+
			"stays paused", func(c *call, _ none) (Done, error) {
			return Done{Changed: 1}, queue.ResumeAll(c.ctx, c.box)
		}),
	}
}
