package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// rawQueue is a queue known by its name only.
func rawQueue(name string) *queue.Queue[json.RawMessage] {
	return queue.Define[json.RawMessage](name, queue.Config{})
}

func (p *program) showTask() *ucli.Command {
	return &ucli.Command{
		Name: "show", Usage: "show one task, or a subscriber's copy of an event, with its failed attempts",
		ArgsUsage: "ID",
		Flags:     []ucli.Flag{payloadFlag()},
		Before:    needID,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := idArg(c)
			if err != nil {
				return err
			}
			t, err := ops.Task(ctx, box, id)
			if err != nil {
				return err
			}
			if !c.Bool("payload") {
				t.Payload, t.Metadata = nil, nil
			}
			if err := p.show(c, t, taskTable(t)); err != nil || c.Bool("json") {
				return err
			}
			return p.showStack(t)
		}),
	}
}

// showStack prints the stack of the last attempt that panicked; JSON has those of all.
func (p *program) showStack(d ops.TaskDetails) error {
	for _, a := range slices.Backward(d.History) {
		if a.Stack != "" {
			_, err := fmt.Fprintf(p.Out, "\nThe stack of attempt %d:\n%s\n", a.Number,
				strings.TrimSpace(printableLines(a.Stack)))
			return err
		}
	}
	return nil
}

func taskTable(d ops.TaskDetails) *table {
	t := newFields("FIELD", "VALUE")
	add := func(name, value string) {
		if value != "" && value != "-" {
			t.add(name, value)
		}
	}
	add("id", fmt.Sprint(d.ID))
	add("kind", string(d.Kind))
	add("status", string(d.Status))
	add("queue", d.Queue)
	add("events of", d.EntityType)
	add("entity", d.EntityID)
	add("subscriber", d.Subscriber)
	add("priority", fmt.Sprint(d.Priority))
	add("attempts", fmt.Sprintf("%d/%d", d.Attempts, d.MaxAttempts))
	add("customer key", d.CustomerKey)
	add("dedup key", d.DedupKey)
	add("created", stamp(d.CreatedAt))
	add("due", stampOrDash(d.DueAt))
	add("claimed", stampOrDash(d.ClaimedAt))
	add("finished", stampOrDash(d.FinishedAt))
	if d.Percent != nil {
		add("progress", strings.TrimSpace(fmt.Sprintf("%d %% %s", *d.Percent, d.Message)))
	}
	add("last error", clip(d.LastError, 200))
	for _, a := range d.History {
		add(fmt.Sprintf("attempt %d", a.Number), fmt.Sprintf("%s on %s: %s", stamp(a.At), a.Worker, clip(a.Error, 200)))
	}
	add("metadata", string(d.Metadata))
	add("payload", string(d.Payload))
	return t
}

func (p *program) enqueue() *ucli.Command {
	return &ucli.Command{
		Name: "enqueue", Usage: "enqueue one task", ArgsUsage: "QUEUE JSON (- reads it from standard input)",
		Flags: []ucli.Flag{
			&ucli.IntFlag{Name: "priority", Usage: "0 to 9, higher first"},
			&ucli.DurationFlag{Name: "delay", Usage: "how long the task waits at the least, such as 10m"},
			&ucli.StringFlag{Name: "dedup-key", Usage: "keep a second task with this key out of the queue"},
			&ucli.IntFlag{Name: "max-attempts", Value: queue.DefaultMaxAttempts, Usage: "how often it is tried"},
		},
		Action: p.changing(p.runEnqueue),
	}
}

func (p *program) runEnqueue(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.NArg() != 2 {
		return usagef("enqueue: give a queue and its payload as one JSON word, not %d arguments", c.NArg())
	}
	if c.Args().First() == "" {
		return usagef("enqueue: the QUEUE is empty")
	}
	name, doc := c.Args().Get(0), []byte(c.Args().Get(1))
	if string(doc) == "-" {
		var err error
		if doc, err = p.readFile("-", queue.DefaultMaxPayload); err != nil {
			return err
		}
	}
	if !json.Valid(doc) {
		return usagef("enqueue: the payload is not valid JSON")
	}
	opts := []queue.EnqueueOption{queue.Priority(c.Int("priority")), queue.MaxAttempts(c.Int("max-attempts"))}
	if c.IsSet("delay") {
		opts = append(opts, queue.Delay(c.Duration("delay")))
	}
	if c.IsSet("dedup-key") {
		opts = append(opts, queue.DedupKey(c.String("dedup-key")))
	}
	var done queue.Enqueued
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
		done, err = rawQueue(name).Enqueue(ctx, tx, doc, opts...)
		return err
	})
	if err != nil {
		return err
	}
	if done.Duplicate {
		return p.say(c, map[string]any{"id": done.ID, "duplicate": true},
			"task %d holds the dedup key already; nothing was enqueued", done.ID)
	}
	p.changed++
	return p.say(c, map[string]any{"id": done.ID, "duplicate": false}, "enqueued task %d", done.ID)
}
