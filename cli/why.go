package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) why() *ucli.Command {
	return &ucli.Command{
		Name: "why", Usage: "say why a task does not run, the most decisive cause first", ArgsUsage: "ID",
		Before: needID,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := idArg(c)
			if err != nil {
				return err
			}
			reasons, err := queue.Why(ctx, box, "", id)
			if err != nil {
				return err
			}
			t := &table{header: []string{"CAUSE", "WHAT IT IS&"}}
			for _, r := range reasons {
				t.add(r.Cause, r.Text)
			}
			return p.showList(c, reasons, t, "nothing keeps the task from running: a worker is about to take it")
		}),
	}
}
