package cli

import (
	"context"
	"fmt"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) retry() *ucli.Command {
	return &ucli.Command{
		Name:      "retry",
		Usage:     "give dead, cancelled or discarded tasks, and dead letters of subscribers, all their attempts again",
		ArgsUsage: "ID…", Flags: []ucli.Flag{dryRunFlag()}, Before: needIDs,
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			states, err := statesOf(ctx, box, ids)
			if err != nil {
				return err
			}
			var chosen []int64
			for _, s := range states {
				if retryable(s) {
					chosen = append(chosen, s.ID)
				}
			}
			if !c.Bool("dry-run") {
				if err := p.retryEnded(ctx, box, states); err != nil {
					return err
				}
			}
			o, err := outcomeOf(ctx, box, chosen, without(ids, chosen))
			if err != nil {
				return err
			}
			o.DryRun = c.Bool("dry-run")
			return p.sayOutcome(c, "retried", o)
		}),
	}
}

// retryable reports whether a task has ended without success; of events, only the dead ones.
func retryable(s ops.TaskState) bool {
	if s.Kind == ops.KindDelivery {
		return s.Status == queue.StatusDead
	}
	return slices.Contains(gaveUp, s.Status)
}

// retryEnded retries the tasks of each status, and dead copies of events for their subscribers.
func (p *program) retryEnded(ctx context.Context, box *outbox.Box, states []ops.TaskState) error {
	tasks, copies := map[queue.Status][]int64{}, map[string][]int64{}
	for _, s := range states {
		switch {
		case !retryable(s):
		case s.Kind == ops.KindDelivery:
			copies[s.Subscriber] = append(copies[s.Subscriber], s.ID)
		default:
			tasks[s.Status] = append(tasks[s.Status], s.ID)
		}
	}
	for status, ids := range tasks {
		if _, err := queue.RetryDead(ctx, box, outbox.DeadFilter{IDs: ids, Status: string(status)}); err != nil {
			return fmt.Errorf("some may be retried: %w", err)
		}
	}
	for subscriber, ids := range copies {
		if _, err := events.RetryDead(ctx, box, subscriber, ids...); err != nil {
			return fmt.Errorf("some may be retried: %w", err)
		}
	}
	return nil
}

// deadEventIDs returns the ids of a subscriber's dead letters, in their order.
func deadEventIDs(ctx context.Context, box *outbox.Box, subscriber string) (ids []int64, err error) {
	if _, err := ops.SubscriberStats(ctx, box, subscriber); err != nil {
		return nil, unknownSubscriber(err)
	}
	f := outbox.DeadFilter{Subscriber: subscriber, Limit: ops.MaxLimit}
	for {
		letters, err := ops.DeadLetters(ctx, box, f)
		if err != nil {
			return nil, err
		}
		for _, l := range letters {
			ids = append(ids, l.ID)
			f.After = l.ID
		}
		if len(letters) < ops.MaxLimit {
			return ids, nil
		}
	}
}
