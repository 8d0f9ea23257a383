package cli

import (
	"context"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) tasks() *ucli.Command {
	return &ucli.Command{
		Name: "tasks", Usage: "list tasks of any queue, newest first: those that wait or run, or of one status",
		Flags: append(filterFlags(),
			&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"},
			&ucli.IntFlag{Name: "examine", Value: 100_000, Usage: "how many tasks to look at"},
			&ucli.StringFlag{Name: "after", Usage: "where the page before has ended: to page on"},
		),
		Before: noArgs,
		Action: p.withBox(p.listTasks),
	}
}

func (p *program) listTasks(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	f := taskFilter(c)
	f.After, f.Limit, f.Examine = c.String("after"), c.Int("limit"), c.Int("examine")
	list, err := ops.Tasks(ctx, box, f)
	if err != nil {
		return err
	}
	t := &table{header: []string{"ID#", "QUEUE~", "STATUS", "PRIORITY#?", "ATTEMPTS#?", "ENQUEUED@", "DUE@?", "KEY~?",
		"ERROR~"}}
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
