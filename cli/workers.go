package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) workers() *ucli.Command {
	return &ucli.Command{
		Name:  "workers",
		Usage: "list the processes that work: release, queues, slots, silence, and the task that runs longest",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "queue", Usage: "those that work this queue"},
			&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"},
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if n := c.Int("limit"); n < 1 || n > ops.MaxLimit {
				return usagef("workers: --limit: %d is not from 1 to %d", n, ops.MaxLimit)
			}
			all, err := ops.Processes(ctx, box, c.String("queue"))
			if err != nil {
				return err
			}
			all = all[:min(len(all), c.Int("limit"))]
			t := &table{header: []string{"PROCESS~", "RELEASE~?", "QUEUES~", "SLOTS#", "STATE", "SILENT FOR#",
				"SINCE@?", "LONGEST TASK~"}}
			for _, pr := range all {
				t.add(fmt.Sprintf("%s/%d", pr.Host, pr.PID), orDash(pr.Release), strings.Join(pr.Queues(), ","),
					pr.Slots, pr.State(), ago(ops.Duration{Duration: pr.SilentFor()}), pr.StartedAt, longest(pr))
			}
			return p.showList(c, all, t, "no process works a queue")
		}),
	}
}

// longest says which task of a process runs longest.
func longest(p ops.Process) string {
	if len(p.Running) == 0 {
		return "-"
	}
	r := p.Running[0]
	return fmt.Sprintf("%d for %v", r.ID, r.For.Round(time.Second))
}
