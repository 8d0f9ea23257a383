package cli

import (
	"context"
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) errors() *ucli.Command {
	return &ucli.Command{
		Name: "errors", Usage: "list why attempts fail, the most frequent reason first",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "of", Usage: "of this queue or subscriber only"},
			&ucli.DurationFlag{Name: "since", Value: ops.DefaultErrorsSince, Usage: "how far back failures count"},
			&ucli.BoolFlag{Name: "new", Usage: "only reasons that had not been there before"},
			&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"},
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			groups, err := ops.ErrorGroups(ctx, box, ops.ErrorFilter{Name: c.String("of"), Since: c.Duration("since"),
				New: c.Bool("new"), Limit: c.Int("limit")})
			if err != nil {
				return err
			}
			t := &table{header: []string{"FAILURES#", "LAST HOUR#", "FIRST@?", "LAST@", "OF~", "ERROR~"}}
			for _, g := range groups {
				t.add(g.Failures, trend(g), stamp(g.FirstAt), stamp(g.LastAt),
					clip(strings.Join(append(g.Queues, g.Subscribers...), ","), 30), clip(g.Fingerprint, 200))
			}
			return p.showList(c, groups, t, "no failures")
		}),
	}
}

// trend renders the failures of the last hour, and whether they are more or fewer than in the one before.
func trend(g ops.ErrorGroup) string {
	switch {
	case g.LastHour > g.HourBefore:
		return fmt.Sprintf("%d up", g.LastHour)
	case g.LastHour < g.HourBefore:
		return fmt.Sprintf("%d down", g.LastHour)
	}
	return fmt.Sprint(g.LastHour)
}
