package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// deadLetter is a dead letter as --json prints it.
type deadLetter struct {
	ops.DeadLetter
	Payload json.RawMessage `json:"payload,omitempty"`
}

func (p *program) deadLetters() *ucli.Command {
	return &ucli.Command{
		Name:      "dead-letters",
		Usage:     "list dead letters of a queue, a subscriber or all, newest first; or cancelled or discarded tasks",
		ArgsUsage: "QUEUE",
		Flags: append(deadFlags(),
			&ucli.BoolFlag{Name: "oldest", Usage: "oldest first"},
			&ucli.IntFlag{Name: "limit", Value: queue.DefaultDeadLimit, Usage: "how many at the most"},
			&ucli.Int64Flag{Name: "after", Usage: "the id at which the page before has ended: to page on"},
			payloadFlag()),
		Before: needsDead,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			filter.Limit, filter.After, filter.Newest = c.Int("limit"), c.Int64("after"), !c.Bool("oldest")
			letters, err := readDead(ctx, c, box, filter)
			if err != nil {
				return err
			}
			if len(letters) == 0 && filter.Queue != "" {
				err = p.noteUnused(ctx, box, filter.Queue)
			}
			return errors.Join(err, p.showDead(c, filter, letters))
		}),
	}
}

// readDead reads those of a queue with their payloads, and those of subscribers without.
func readDead(ctx context.Context, c *ucli.Context, box *outbox.Box, f outbox.DeadFilter) (all []deadLetter,
	err error) {
	if f.Subscriber == "" {
		letters, err := queue.DeadLetters(ctx, box, f)
		for _, l := range letters {
			d := deadLetter{DeadLetter: ops.DeadLetter{ID: l.ID, Kind: ops.KindTask, Queue: l.Queue,
				Attempts: l.Attempt, MaxAttempts: l.MaxAttempts, CreatedAt: l.CreatedAt.UTC(),
				DiedAt: l.FinishedAt.UTC(), Error: l.LastError}}
			if c.Bool("payload") {
				d.Payload = l.Raw
			}
			all = append(all, d)
		}
		return all, err
	}
	if c.Bool("payload") {
		return nil, usagef("dead-letters: --payload is not for those of subscribers; see `strunk show ID --payload`")
	}
	letters, err := ops.DeadLetters(ctx, box, f)
	for _, l := range letters {
		l.CreatedAt, l.DiedAt = l.CreatedAt.UTC(), l.DiedAt.UTC()
		all = append(all, deadLetter{DeadLetter: l})
	}
	return all, err
}

func (p *program) showDead(c *ucli.Context, f outbox.DeadFilter, letters []deadLetter) error {
	t := &table{header: []string{"ID#", "ATTEMPTS#?", "ENDED@", "ERROR~"}}
	switch {
	case f.Subscriber != "":
		t.header = []string{"ID#", "EVENTS OF~?", "ENTITY~", "POSITION#?", "ATTEMPTS#?", "ENDED@", "ERROR~"}
	case f.Queue == "":
		t.header = []string{"ID#", "QUEUE~", "ATTEMPTS#?", "ENDED@", "ERROR~"}
	}
	if c.Bool("payload") {
		t.header = append(t.header, "PAYLOAD~")
	}
	for _, l := range letters {
		row := []any{l.ID}
		switch {
		case f.Subscriber != "":
			row = append(row, l.EntityType, l.EntityID, l.Position)
		case f.Queue == "":
			row = append(row, l.Queue)
		}
		row = append(row, fmt.Sprintf("%d/%d", l.Attempts, l.MaxAttempts), l.DiedAt, clip(l.Error, 80))
		if c.Bool("payload") {
			row = append(row, clip(string(l.Payload), 120))
		}
		t.add(row...)
	}
	if letters == nil {
		letters = []deadLetter{}
	}
	return p.showList(c, letters, t, fmt.Sprintf("no %ss", noun(f)))
}
