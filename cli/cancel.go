package cli

import (
	"context"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) cancel() *ucli.Command {
	return &ucli.Command{
		Name: "cancel", Usage: "cancel waiting and running tasks", ArgsUsage: "ID…",
		Description: "A waiting task is cancelled at once, which `strunk retry` undoes; the context of a " +
			"running one's handler ends.",
		Flags: []ucli.Flag{&ucli.StringFlag{Name: "reason", Usage: "is kept as the tasks' error"},
			dryRunFlag()},
		Before: needIDs,
		Action: p.changing(p.runCancel),
	}
}

// cancelled is what cancel has done, as --json prints it.
type cancelled struct {
	outcome
	// Requested are those of Changed that run: their handlers were asked to stop.
	Requested []int64 `json:"requested"`
}

func (p *program) runCancel(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	ids, err := idArgs(c)
	if err != nil {
		return err
	}
	dry, err := dryOutcome(ctx, box, ids, lives)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return p.sayOutcome(c, "cancelled", dry)
	}
	states, err := statesOf(ctx, box, dry.Changed)
	if err != nil {
		return err
	}
	done, others := cancelled{Requested: []int64{}}, without(ids, dry.Changed)
	var changed []int64
	for _, s := range states {
		state, err := rawQueue(s.Queue).Cancel(ctx, box, s.ID, c.String("reason"))
		switch {
		case err != nil:
			return fmt.Errorf("cancelled %s, then task %d: %w", plural(len(changed), "task"), s.ID, err)
		case state == queue.CancelTooLate:
			others = append(others, s.ID)
			continue
		case state == queue.CancelRequested:
			done.Requested = append(done.Requested, s.ID)
		}
		changed = append(changed, s.ID)
	}
	if done.outcome, err = outcomeOf(ctx, box, changed, others); err != nil {
		return err
	}
	return p.sayCancelled(c, done)
}

func (p *program) sayCancelled(c *ucli.Context, done cancelled) error {
	p.changed += int64(len(done.Changed))
	text := fmt.Sprintf("cancelled %s", plural(len(done.Changed)-len(done.Requested), "task"))
	if n := len(done.Requested); n > 0 {
		text += fmt.Sprintf(", and asked the handler of %s to stop", plural(n, "running task"))
	}
	if err := p.say(c, done, "%s", text); err != nil {
		return err
	}
	return done.problem()
}

// without returns the ids that are not among others.
func without(ids, others []int64) (rest []int64) {
	known := map[int64]bool{}
	for _, id := range others {
		known[id] = true
	}
	for _, id := range ids {
		if !known[id] {
			rest = append(rest, id)
		}
	}
	return rest
}
