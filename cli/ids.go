package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// The statuses of the tasks that an act changes.
var (
	waits   = []queue.Status{queue.StatusScheduled, queue.StatusPending}
	lives   = append(slices.Clone(waits), queue.StatusClaimed)
	gaveUp  = []queue.Status{queue.StatusDead, queue.StatusCancelled, queue.StatusDiscarded}
	deleted = slices.Concat(waits, gaveUp)
)

// outcome is what a command has done to tasks by their ids, as --json prints it.
type outcome struct {
	// Changed are those that it has changed, or with --dry-run would have.
	Changed []int64 `json:"changed"`
	// Unchanged are those that have another status than it changes.
	Unchanged []ops.TaskState `json:"unchanged"`
	NotFound  []int64         `json:"not_found"`
	DryRun    bool            `json:"dry_run,omitempty"`
}

// outcomeOf looks up why ids were not changed.
func outcomeOf(ctx context.Context, box *outbox.Box, changed, others []int64) (outcome, error) {
	states, err := statesOf(ctx, box, others)
	o := outcome{Changed: slices.Clip(changed), Unchanged: states, NotFound: []int64{}}
	if o.Changed == nil {
		o.Changed = []int64{}
	}
	for _, id := range others {
		if !slices.ContainsFunc(states, func(s ops.TaskState) bool { return s.ID == id }) {
			o.NotFound = append(o.NotFound, id)
		}
	}
	return o, err
}

// statesOf is ops.TaskStates for any number of ids.
func statesOf(ctx context.Context, box *outbox.Box, ids []int64) ([]ops.TaskState, error) {
	all := []ops.TaskState{}
	for chunk := range slices.Chunk(ids, ops.MaxChange) {
		states, err := ops.TaskStates(ctx, box, chunk...)
		if err != nil {
			return nil, err
		}
		all = append(all, states...)
	}
	return all, nil
}

// sayOutcome says how many tasks were changed, and fails with the ids of those that were not.
func (p *program) sayOutcome(c *ucli.Context, did string, o outcome) error {
	p.changed += int64(len(o.Changed))
	if o.DryRun {
		did, p.changed = "would have "+did, 0
	}
	if err := p.say(c, o, "%s %s", did, plural(len(o.Changed), "task")); err != nil {
		return err
	}
	return o.problem()
}

func (o outcome) problem() error {
	var problems []string
	if len(o.NotFound) > 0 {
		problems = append(problems, "not found: "+strings.Trim(fmt.Sprint(o.NotFound), "[]"))
	}
	if len(o.Unchanged) > 0 {
		var texts []string
		for _, s := range o.Unchanged {
			what := string(s.Status)
			if s.Kind == ops.KindDelivery {
				what += fmt.Sprintf(" event of subscriber %q", s.Subscriber)
			}
			texts = append(texts, fmt.Sprintf("%d (%s)", s.ID, what))
		}
		problems = append(problems, "not changed: "+strings.Join(texts, ", "))
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

// dryOutcome says what an act that changes tasks of these statuses would do.
func dryOutcome(ctx context.Context, box *outbox.Box, ids []int64, statuses []queue.Status) (outcome, error) {
	states, err := statesOf(ctx, box, ids)
	if err != nil {
		return outcome{}, err
	}
	var would, others []int64
	for _, id := range ids {
		if slices.ContainsFunc(states, func(s ops.TaskState) bool {
			return s.ID == id && s.Kind == ops.KindTask && slices.Contains(statuses, s.Status)
		}) {
			would = append(would, id)
		} else {
			others = append(others, id)
		}
	}
	o, err := outcomeOf(ctx, box, would, others)
	o.DryRun = true
	return o, err
}

func dryRunFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "dry-run", Usage: "say what it would do, and do nothing"}
}
