package cli

import (
	"context"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) pause() *ucli.Command {
	return p.switchQueue("pause", "keep the tasks of a queue, or of all, from being begun, in all processes", "paused",
		[]ucli.Flag{&ucli.StringFlag{Name: "reason", Usage: "for those who find it paused"}},
		func(ctx context.Context, c *ucli.Context, box *outbox.Box, q string) error {
			return ops.PauseQueues(ctx, box, ops.NewPause{Queue: q, All: q == "", Reason: c.String("reason")})
		})
}

func (p *program) resume() *ucli.Command {
	return p.switchQueue("resume", "end a pause of a queue, or the one of all queues", "resumed", nil,
		func(ctx context.Context, _ *ucli.Context, box *outbox.Box, q string) error {
			if q == "" {
				return queue.ResumeAll(ctx, box)
			}
			return rawQueue(q).Resume(ctx, box)
		})
}

// switchQueue is a command that pauses or resumes; run is given an empty queue for all.
func (p *program) switchQueue(name, usage, did string, flags []ucli.Flag,
	run func(ctx context.Context, c *ucli.Context, box *outbox.Box, q string) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "QUEUE",
		Description: "A pause of all queues (--all) is one of its own: it holds for queues that appear later\n" +
			"too, and queues that were paused by themselves stay paused when it ends.",
		Flags: append(flags, &ucli.BoolFlag{Name: "all", Usage: "all queues"}),
		Before: func(c *ucli.Context) error {
			_, err := queueOrAll(c)
			return err
		},
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			q, err := queueOrAll(c)
			if err == nil {
				err = run(ctx, c, box, q)
			}
			if err != nil {
				return err
			}
			p.changed++
			if q == "" {
				return p.say(c, map[string]any{"all": true, did: true}, "%s all queues", did)
			}
			p.noteMisspelt(ctx, box, q)
			if err := p.noteAllPaused(ctx, box, q); err != nil {
				return err
			}
			return p.say(c, map[string]any{"queue": q, did: true}, "%s queue %q", did, q)
		}),
	}
}

// queueOrAll returns the queue, or an empty name for --all.
func queueOrAll(c *ucli.Context) (string, error) {
	if !c.Bool("all") {
		return oneArg(c, "QUEUE")
	}
	if c.Args().Present() {
		return "", usagef("%s: --all is all queues, not %q alone", c.Command.Name, c.Args().First())
	}
	return "", nil
}

// noteAllPaused says that a queue begins nothing because all are paused.
func (p *program) noteAllPaused(ctx context.Context, box *outbox.Box, name string) error {
	q, err := ops.QueueStats(ctx, box, name)
	if err == nil && q.AllPaused {
		fmt.Fprintln(p.Err, "strunk: note: all queues are paused; `strunk resume --all` ends that")
	}
	return err
}
