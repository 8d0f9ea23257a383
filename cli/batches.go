package cli

import (
	"context"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) batches() *ucli.Command {
	return &ucli.Command{
		Name: "batches", Usage: "list batches and how far they have come, or cancel one",
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "unfinished", Usage: "those alone that are not finished"},
			&ucli.Int64Flag{Name: "before", Usage: "with ids below this one, for the next page"},
			&ucli.IntFlag{Name: "limit", Usage: "how many", Value: ops.DefaultLimit},
		},
		Action:      p.withBox(p.listBatches),
		Subcommands: []*ucli.Command{p.cancelBatch()},
	}
}

func (p *program) listBatches(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.Args().Present() {
		return usagef("batches: there is no %q; see `strunk batches --help`", c.Args().First())
	}
	if n := c.Int("limit"); n < 1 || n > ops.MaxLimit {
		return usagef("batches: --limit: %d is not from 1 to %d", n, ops.MaxLimit)
	}
	all, err := queue.Batches(ctx, box, queue.BatchFilter{Unfinished: c.Bool("unfinished"), Before: c.Int64("before"),
		Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	t := &table{header: []string{"BATCH#", "NAME~", "ENDED", "ADDED#", "DONE#", "DEAD#", "CANCELLED#?", "DISCARDED#?",
		"DELETED#?", "STATE"}}
	for _, s := range all {
		t.add(s.ID, clip(s.Name, 40), percent(s.Ended(), s.Added), s.Added, s.Done, s.Dead, s.Cancelled, s.Discarded,
			s.Deleted, batchState(s))
	}
	return p.showList(c, all, t, "no batches")
}

func percent(n, of int64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%", n*100/of)
}

// batchState is the one word that matters most.
func batchState(s queue.BatchState) string {
	switch {
	case !s.FinishedAt.IsZero():
		return "finished"
	case !s.CancelledAt.IsZero():
		return "cancelled"
	case !s.ClosedAt.IsZero():
		return "closed"
	}
	return "open"
}

func (p *program) cancelBatch() *ucli.Command {
	return &ucli.Command{
		Name: "cancel", Usage: "cancel all tasks of a batch that have not ended", ArgsUsage: "ID",
		Flags:  []ucli.Flag{&ucli.StringFlag{Name: "reason", Usage: "kept with the tasks"}},
		Before: needIDs,
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				return usagef("batches cancel: give one ID, not %d", len(ids))
			}
			did, err := queue.Batch{ID: ids[0]}.Cancel(ctx, box, c.String("reason"))
			if err != nil {
				return err
			}
			p.changed += int64(did.Cancelled + did.Cancelling)
			return p.say(c, map[string]any{"id": ids[0], "cancelled": did.Cancelled, "cancelling": did.Cancelling},
				"batch %d: cancelled %d, asked %d to stop", ids[0], did.Cancelled, did.Cancelling)
		}),
	}
}
