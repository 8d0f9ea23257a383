package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	// deadChunk bounds the dead letters of one step of long work, between two looks at the signals and the
	// progress bar.
	deadChunk = 500
	// askAbove is how many dead letters retry-all retries without asking.
	askAbove = 1_000
)

func deadFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.BoolFlag{Name: "all", Usage: "of all queues"},
		&ucli.StringFlag{Name: "subscriber", Usage: "dead letters of this subscriber, instead of a queue"},
		&ucli.StringFlag{Name: "status", Value: outbox.EndedDead,
			Usage: "dead, or cancelled or discarded: tasks that ended so, which are no dead letters"},
		&ucli.StringFlag{Name: "error", Usage: "only those whose last error contains this text"},
		&ucli.DurationFlag{Name: "older-than", Usage: "only those that ended longer ago than this, such as 24h"},
		&ucli.DurationFlag{Name: "younger-than", Usage: "only those that ended since then"},
	}
}

// needsDead refuses what chooses nothing or two things, before the database is asked.
func needsDead(c *ucli.Context) error {
	_, err := deadFilter(c)
	return err
}

func deadFilter(c *ucli.Context) (f outbox.DeadFilter, err error) {
	f = outbox.DeadFilter{Queue: c.Args().First(), Subscriber: c.String("subscriber"), Error: c.String("error"),
		OlderThan: c.Duration("older-than"), YoungerThan: c.Duration("younger-than"), Status: c.String("status")}
	named := c.Bool("all") || f.Subscriber != ""
	switch {
	case named && c.Args().Present() || c.Bool("all") && f.Subscriber != "":
		return f, usagef("%s: give a QUEUE, --subscriber or --all, not two of them", c.Command.Name)
	case !named:
		if _, err = oneArg(c, "QUEUE"); err != nil {
			return f, err
		}
	}
	_, statusErr := f.EndedStatus()
	switch {
	case statusErr != nil:
		err = usagef("%s: --status: %q is not dead, cancelled or discarded", c.Command.Name, f.Status)
	case f.OlderThan < 0 || f.YoungerThan < 0:
		err = usagef("%s: --older-than and --younger-than must not be negative", c.Command.Name)
	case f.Subscriber != "" && (f.Error != "" || f.OlderThan != 0 || f.YoungerThan != 0 || c.IsSet("status")):
		err = usagef("%s: --subscriber goes with none of --status, --error, --older-than and --younger-than",
			c.Command.Name)
	}
	return f, err
}

// ofWhat says which queue a filter is of.
func ofWhat(f outbox.DeadFilter) string {
	switch {
	case f.Subscriber != "":
		return fmt.Sprintf("subscriber %q", f.Subscriber)
	case f.Queue == "":
		return "all queues"
	}
	return strconv.Quote(f.Queue)
}

func (p *program) retryAll() *ucli.Command {
	return &ucli.Command{
		Name:      "retry-all",
		Usage:     "give all dead letters of a queue, a subscriber or all queues all their attempts again",
		ArgsUsage: "QUEUE",
		Description: "Works in transactions of at most " + strconv.Itoa(deadChunk) +
			". Interrupted, it keeps what it did, and the next call does the rest.\n" +
			"One that dies again meanwhile is not retried twice. More than " + strconv.Itoa(askAbove) +
			" are retried with --yes, or when a terminal has said so.",
		Flags:  append(deadFlags(), dryRunFlag(), yesFlag()),
		Before: needsDead,
		Action: p.changing(p.onDead("retried", p.runRetryAll)),
	}
}

// onDead calls run with what the arguments choose, or with --dry-run says how many there are. did is what run does to
// them.
func (p *program) onDead(did string, run func(ctx context.Context, c *ucli.Context, box *outbox.Box,
	f outbox.DeadFilter, ids []int64) error) func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	return func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
		filter, err := deadFilter(c)
		if err != nil {
			return err
		}
		ids, err := deadIDs(ctx, box, filter)
		if err != nil {
			return err
		}
		if c.Bool("dry-run") {
			return p.sayDry(c, did, filter, len(ids))
		}
		return run(ctx, c, box, filter, ids)
	}
}

func (p *program) runRetryAll(ctx context.Context, c *ucli.Context, box *outbox.Box, filter outbox.DeadFilter,
	ids []int64) error {
	switch {
	case len(ids) > askAbove:
		if err := p.confirm(c, fmt.Sprintf("retry %s of %s", plural(len(ids), noun(filter)),
			ofWhat(filter))); err != nil {
			return err
		}
	case len(ids) == 0 && filter.Queue != "":
		if err := p.noteUnused(ctx, box, filter.Queue); err != nil {
			return err
		}
	}
	step := queue.RetryDead
	if filter.Subscriber != "" {
		step = func(ctx context.Context, box *outbox.Box, f outbox.DeadFilter) (int, error) {
			n, err := events.RetryDead(ctx, box, filter.Subscriber, f.IDs...)
			return int(n), err
		}
	}
	n, err := p.eachDead(ctx, c, box, "retrying", filter, ids, step)
	return p.sayCount(c, "retried", filter, n, err)
}

func (p *program) purge() *ucli.Command {
	return &ucli.Command{
		Name: "purge", Usage: "delete dead letters of a queue or all for good, or cancelled or discarded tasks",
		ArgsUsage: "QUEUE",
		Flags: append(slices.DeleteFunc(deadFlags(), func(f ucli.Flag) bool { return f.Names()[0] == "subscriber" }),
			dryRunFlag(), yesFlag()),
		Before: needsDead,
		Action: p.changing(p.onDead("purged", p.runPurge)),
	}
}

func (p *program) runPurge(ctx context.Context, c *ucli.Context, box *outbox.Box, filter outbox.DeadFilter,
	ids []int64) error {
	switch {
	case !c.Bool("yes") && len(ids) > 0:
		return usagef("purge would delete %s of %s for good: %v", plural(len(ids), noun(filter)), ofWhat(filter),
			errNeedYes)
	case !c.Bool("yes"):
		var err error
		if filter.Queue != "" {
			err = p.noteUnused(ctx, box, filter.Queue)
		}
		return errors.Join(err, p.say(c, map[string]any{"purged": 0}, "no %ss to purge", noun(filter)))
	}
	n, err := p.eachDead(ctx, c, box, "purging", filter, ids, queue.PurgeDead)
	return p.sayCount(c, "purged", filter, n, err)
}

// errInterrupted ends long work between two transactions.
var errInterrupted = errors.New("interrupted")

// sayDry says how many there are.
func (p *program) sayDry(c *ucli.Context, what string, filter outbox.DeadFilter, n int) error {
	return p.say(c, map[string]any{what: n, "dry_run": true}, "would have %s %s of %s", what, plural(n, noun(filter)),
		ofWhat(filter))
}

// sayCount says how far long work has come, also where an error ended it.
func (p *program) sayCount(c *ucli.Context, what string, filter outbox.DeadFilter, n int, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s, then: %w; call it again for the rest", what, plural(n, noun(filter)), err)
	}
	return p.say(c, map[string]any{what: n}, "%s %s", what, plural(n, noun(filter)))
}

// deadIDs returns the ids of what a filter chooses, in their order.
func deadIDs(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) ([]int64, error) {
	if filter.Subscriber != "" {
		return deadEventIDs(ctx, box, filter.Subscriber)
	}
	return queue.DeadIDs(ctx, box, filter)
}

// eachDead works on the dead letters that were there at the beginning, a chunk at a time. The first
// signal lets the chunk that runs end, so that what was done is known; a second one ends the
// process.
func (p *program) eachDead(ctx context.Context, c *ucli.Context, box *outbox.Box, what string, filter outbox.DeadFilter,
	ids []int64, step func(context.Context, *outbox.Box, outbox.DeadFilter) (int, error)) (done int, err error) {
	bar := p.bar(c, what, len(ids))
	defer bar.end()
	for chunk := range slices.Chunk(ids, deadChunk) {
		if ctx.Err() != nil {
			return done, errInterrupted
		}
		// After and Limit let the chunk be found without a walk through all that are dead.
		n, err := step(context.WithoutCancel(ctx), box, outbox.DeadFilter{IDs: chunk, Status: filter.Status,
			After: chunk[0] - 1, Limit: len(chunk)})
		done, p.changed = done+n, p.changed+int64(n)
		bar.add(len(chunk))
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// noun is what the filter chooses one of.
func noun(f outbox.DeadFilter) string {
	if status, err := f.EndedStatus(); err == nil && status != outbox.EndedDead {
		return status + " task"
	}
	return "dead letter"
}
