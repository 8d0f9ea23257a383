package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// rawQueue is a queue known by its name only.
func rawQueue(name string) *queue.Queue[json.RawMessage] {
	return queue.Define[json.RawMessage](name, queue.Config{})
}

// task is a task as --json prints it.
type task struct {
	ID          int64             `json:"id"`
	Queue       string            `json:"queue"`
	Status      queue.Status      `json:"status"`
	Priority    int               `json:"priority"`
	Attempts    int               `json:"attempts"`
	MaxAttempts int               `json:"max_attempts"`
	DedupKey    string            `json:"dedup_key,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	DueAt       time.Time         `json:"due_at"`
	ClaimedAt   *time.Time        `json:"claimed_at,omitempty"`
	FinishedAt  *time.Time        `json:"finished_at,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	LastError   string            `json:"last_error,omitempty"`
	History     []queue.Attempt   `json:"failed_attempts,omitempty"`
	Payload     json.RawMessage   `json:"payload,omitempty"`
}

func (p *program) showTask() *ucli.Command {
	return &ucli.Command{
		Name: "show", Usage: "show one task with its failed attempts", ArgsUsage: "ID",
		Flags: []ucli.Flag{payloadFlag()},
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				return usagef("show: give one id")
			}
			rec, err := findTask(ctx, box, ids[0])
			if err != nil {
				return err
			}
			return p.showRecord(c, rec)
		}),
	}
}

// findTask looks a task up by its id alone.
func findTask(ctx context.Context, box *outbox.Box, id int64) (rec queue.Record[json.RawMessage], err error) {
	var name string
	err = box.Pool().QueryRow(ctx, expand(box, `SELECT key FROM {schema}.strunk_outbox WHERE id = $1 AND kind = 'task' LIMIT 1`), id).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return rec, fmt.Errorf("there is no task %d; it may be past its retention", id)
	}
	if err != nil {
		return rec, err
	}
	return rawQueue(name).Get(ctx, box, id)
}

func (p *program) showRecord(c *ucli.Context, rec queue.Record[json.RawMessage]) error {
	doc := task{ID: rec.ID, Queue: rec.Queue, Status: rec.Status, Priority: rec.Priority, Attempts: rec.Attempt, MaxAttempts: rec.MaxAttempts,
		DedupKey: rec.DedupKey, CreatedAt: rec.CreatedAt.UTC(), DueAt: rec.DueAt.UTC(), ClaimedAt: orNil(rec.ClaimedAt), FinishedAt: orNil(rec.FinishedAt),
		Metadata: rec.Metadata, LastError: rec.LastError, History: rec.Attempts}
	t := &table{header: []string{"FIELD", "VALUE"}}
	for _, row := range [][2]any{{"id", rec.ID}, {"queue", rec.Queue}, {"status", rec.Status}, {"priority", rec.Priority},
		{"attempts", fmt.Sprintf("%d/%d", rec.Attempt, rec.MaxAttempts)}, {"created", stamp(rec.CreatedAt)}, {"due", stamp(rec.DueAt)},
		{"claimed", stamp(rec.ClaimedAt)}, {"finished", stamp(rec.FinishedAt)}} {
		t.add(row[0], row[1])
	}
	for k, v := range map[string]string{"dedup key": rec.DedupKey, "last error": rec.LastError} {
		if v != "" {
			t.add(k, v)
		}
	}
	for _, a := range rec.Attempts {
		t.add(fmt.Sprintf("attempt %d", a.Number), fmt.Sprintf("%s on %s: %s", stamp(a.At), a.Worker, a.Error))
	}
	if c.Bool("payload") {
		doc.Payload = rec.Raw
		t.add("payload", string(rec.Raw))
	}
	return p.show(c, doc, t)
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
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
		Action: p.withBox(p.runEnqueue),
	}
}

func (p *program) runEnqueue(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.NArg() != 2 {
		return usagef("enqueue: give a queue and its payload as one JSON word, not %d arguments", c.NArg())
	}
	name, doc := c.Args().Get(0), []byte(c.Args().Get(1))
	if string(doc) == "-" {
		var err error
		if doc, err = io.ReadAll(io.LimitReader(p.In, queue.DefaultMaxPayload+1)); err != nil {
			return fmt.Errorf("reading standard input: %w", err)
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
	if errors.Is(err, queue.ErrInvalid) {
		return &exitError{ExitUsage, err.Error()}
	}
	if err != nil {
		return err
	}
	if done.Duplicate {
		return p.say(c, map[string]any{"id": done.ID, "duplicate": true}, "task %d holds the dedup key already; nothing was enqueued", done.ID)
	}
	return p.say(c, map[string]any{"id": done.ID, "duplicate": false}, "enqueued task %d", done.ID)
}

func (p *program) pause() *ucli.Command {
	return p.switchQueue("pause", "keep a queue's tasks from being begun, in all processes", "paused", (*queue.Queue[json.RawMessage]).Pause)
}

func (p *program) resume() *ucli.Command {
	return p.switchQueue("resume", "end a pause", "resumed", (*queue.Queue[json.RawMessage]).Resume)
}

func (p *program) switchQueue(name, usage, did string, act func(*queue.Queue[json.RawMessage], context.Context, *outbox.Box) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "QUEUE",
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			q, err := oneArg(c, "QUEUE")
			if err != nil {
				return err
			}
			if err := act(rawQueue(q), ctx, box); err != nil {
				return err
			}
			return p.say(c, map[string]any{"queue": q, did: true}, "%s queue %q", did, q)
		}),
	}
}

func (p *program) cancel() *ucli.Command {
	return &ucli.Command{
		Name: "cancel", Usage: "cancel a waiting or a running task", ArgsUsage: "ID",
		Description: "A waiting task becomes a dead letter at once, which `strunk retry` undoes; the context of a running one's handler ends.",
		Flags:       []ucli.Flag{&ucli.StringFlag{Name: "reason", Usage: "is kept as the dead letter's error"}},
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				return usagef("cancel: give one id")
			}
			rec, err := findTask(ctx, box, ids[0])
			if err != nil {
				return err
			}
			state, err := rawQueue(rec.Queue).Cancel(ctx, box, rec.ID, c.String("reason"))
			if err != nil {
				return err
			}
			if state == queue.CancelTooLate {
				return fmt.Errorf("task %d has ended already: %s", rec.ID, rec.Status)
			}
			return p.say(c, map[string]any{"id": rec.ID, "state": state}, "task %d: %s", rec.ID, state)
		}),
	}
}
