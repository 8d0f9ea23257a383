package cli

import (
	"context"
	"encoding/json"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) tasks() *ucli.Command {
	return &ucli.Command{
		Name: "tasks", Usage: "list tasks of any queue, newest first: those that wait or run, or of one status",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "status", Usage: "scheduled, pending, claimed, dead, cancelled, discarded or " +
				"delivered"},
			&ucli.StringFlag{Name: "queue", Usage: "of this queue"},
			&ucli.StringFlag{Name: "key", Usage: "with this customer key"},
			&ucli.StringFlag{Name: "dedup-key", Usage: "with this dedup key"},
			&ucli.StringFlag{Name: "error", Usage: "whose last error contains this text"},
			&ucli.StringFlag{Name: "fingerprint", Usage: "whose last error is of this group: see errors --json"},
			&ucli.StringFlag{Name: "metadata", Usage: `whose metadata contain this JSON, such as {"tenant":"acme"}`},
			&ucli.StringFlag{Name: "payload", Usage: `whose payload contains this JSON, such as {"to":"ann"}`},
			&ucli.DurationFlag{Name: "older-than", Usage: "enqueued at least so long ago"},
			&ucli.DurationFlag{Name: "younger-than", Usage: "enqueued at most so long ago"},
			&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"},
			&ucli.IntFlag{Name: "examine", Value: 100_000, Usage: "how many tasks to look at"},
			&ucli.StringFlag{Name: "after", Usage: "where the page before has ended: to page on"},
		},
		Before: noArgs,
		Action: p.withBox(p.listTasks),
	}
}

func (p *program) listTasks(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	list, err := ops.Tasks(ctx, box, ops.TaskFilter{Status: queue.Status(c.String("status")), Queue: c.String("queue"),
		CustomerKey: c.String("key"), DedupKey: c.String("dedup-key"), Error: c.String("error"),
		Fingerprint: c.String("fingerprint"), Metadata: json.RawMessage(c.String("metadata")),
		Payload: json.RawMessage(c.String("payload")), OlderThan: c.Duration("older-than"),
		YoungerThan: c.Duration("younger-than"), After: c.String("after"), Limit: c.Int("limit"),
		Examine: c.Int("examine")})
	if err != nil {
		return err
	}
	t := &table{header: []string{"ID#", "QUEUE", "STATUS", "PRIORITY#", "ATTEMPTS#", "ENQUEUED", "DUE", "KEY", "ERROR"}}
	for _, task := range list.Tasks {
		t.add(task.ID, task.Queue, task.Status, task.Priority, fmt.Sprintf("%d/%d", task.Attempts, task.MaxAttempts),
			stamp(task.CreatedAt), stampOrDash(task.DueAt), orDash(task.CustomerKey), clip(task.Error, 60))
	}
	if err := p.showList(c, list, t, "no such tasks"); err != nil {
		return err
	}
	if list.Next != "" {
		fmt.Fprintf(p.Err, "strunk: note: looked at %d tasks; go on with --after %s\n", list.Examined, list.Next)
	}
	return nil
}
