package cli

import (
	"context"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// act is a command that changes tasks of some statuses by their ids.
func (p *program) act(name, usage, did string, statuses []queue.Status, flags []ucli.Flag,
	run func(ctx context.Context, c *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error)) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID…", Flags: append(flags, dryRunFlag()), Before: needIDs,
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				o, err := dryOutcome(ctx, box, ids, statuses)
				if err != nil {
					return err
				}
				return p.sayOutcome(c, did, o)
			}
			acted, err := run(ctx, c, box, ids)
			if err != nil {
				return err
			}
			o, err := outcomeOf(ctx, box, acted.Changed, acted.Unchanged)
			if err != nil {
				return err
			}
			return p.sayOutcome(c, did, o)
		}),
	}
}

func (p *program) runNow() *ucli.Command {
	return p.act("run-now", "make tasks that wait due now", "made due", waits, nil,
		func(ctx context.Context, _ *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error) {
			return ops.RunNow(ctx, box, ids...)
		})
}

func (p *program) reschedule() *ucli.Command {
	return p.act("reschedule", "make tasks that wait due at another time", "rescheduled", waits, dueFlags(),
		func(ctx context.Context, c *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error) {
			if c.IsSet("in") == c.IsSet("at") {
				return ops.Acted{}, usagef("reschedule: give --in or --at")
			}
			due, err := dueArg(ctx, c, box)
			if err != nil {
				return ops.Acted{}, err
			}
			return ops.Reschedule(ctx, box, due, ids...)
		})
}

func dueFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.DurationFlag{Name: "in", Usage: "due so long from now, such as 90s, 15m or 24h"},
		&ucli.TimestampFlag{Name: "at", Layout: time.RFC3339, Usage: "due at this time, such as 2026-01-31T18:00:00Z"},
	}
}

// dueArg is the time of --at, or that of --in by the database's clock.
func dueArg(ctx context.Context, c *ucli.Context, box *outbox.Box) (time.Time, error) {
	if c.IsSet("at") {
		return *c.Timestamp("at"), nil
	}
	now, err := ops.Now(ctx, box)
	return now.At.Add(c.Duration("in")), err
}

func (p *program) setPriority() *ucli.Command {
	return p.act("priority", "give tasks that wait another priority", "changed", waits, []ucli.Flag{
		&ucli.IntFlag{Name: "to", Usage: "the priority, 0 to 9; higher ones go first"},
	}, func(ctx context.Context, c *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error) {
		if !c.IsSet("to") {
			return ops.Acted{}, usagef("priority: which one? give --to")
		}
		return ops.SetPriority(ctx, box, c.Int("to"), ids...)
	})
}

func (p *program) discard() *ucli.Command {
	return p.act("discard", "give up tasks that wait; retry undoes it", "discarded", waits, []ucli.Flag{
		&ucli.StringFlag{Name: "reason", Usage: "kept as their last error"},
	}, func(ctx context.Context, c *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error) {
		return ops.Discard(ctx, box, c.String("reason"), ids...)
	})
}

func (p *program) deleteTasks() *ucli.Command {
	return p.act("delete", "delete tasks for good that wait or have ended without success", "deleted",
		deleted, []ucli.Flag{yesFlag()},
		func(ctx context.Context, c *ucli.Context, box *outbox.Box, ids []int64) (ops.Acted, error) {
			if !c.Bool("yes") {
				return ops.Acted{}, usagef("delete: %d tasks would be deleted for good; say --yes", len(ids))
			}
			return ops.DeleteTasks(ctx, box, ids...)
		})
}
