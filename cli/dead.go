package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// deadChunk bounds the dead letters of one step of long work, between two looks at the signals and the progress bar.
const deadChunk = 500

func deadFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "status", Value: outbox.EndedDead,
			Usage: "dead, or cancelled or discarded: tasks that ended so, which are no dead letters"},
		&ucli.StringFlag{Name: "error", Usage: "only those whose last error contains this text"},
		&ucli.DurationFlag{Name: "older-than", Usage: "only those that ended longer ago than this, such as 24h"},
		&ucli.DurationFlag{Name: "younger-than", Usage: "only those that ended since then"},
	}
}

func deadFilter(c *ucli.Context) (outbox.DeadFilter, error) {
	name, err := oneArg(c, "QUEUE")
	filter := outbox.DeadFilter{Queue: name, Error: c.String("error"), OlderThan: c.Duration("older-than"),
		YoungerThan: c.Duration("younger-than"), Status: c.String("status")}
	if _, statusErr := filter.EndedStatus(); err == nil && statusErr != nil {
		err = usagef("%s: --status: %q is not dead, cancelled or discarded", c.Command.Name, filter.Status)
	}
	if err == nil && (filter.OlderThan < 0 || filter.YoungerThan < 0) {
		err = usagef("%s: --older-than and --younger-than must not be negative", c.Command.Name)
	}
	return filter, err
}

// deadLetter is a dead letter as --json prints it.
type deadLetter struct {
	ID          int64           `json:"id"`
	Queue       string          `json:"queue"`
	Attempts    int             `json:"attempts"`
	MaxAttempts int             `json:"max_attempts"`
	CreatedAt   time.Time       `json:"created_at"`
	DiedAt      time.Time       `json:"died_at"`
	Error       string          `json:"error"`
	Payload     json.RawMessage `json:"payload,omitempty"`
}

func (p *program) deadLetters() *ucli.Command {
	return &ucli.Command{
		Name: "dead-letters", Usage: "list a queue's dead letters, or its cancelled or discarded tasks",
		ArgsUsage: "QUEUE",
		Flags: append(deadFlags(),
			&ucli.IntFlag{Name: "limit", Value: queue.DefaultDeadLimit, Usage: "how many at the most"},
			&ucli.Int64Flag{Name: "after", Usage: "only ids above this one: to page on"},
			payloadFlag()),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			filter.Limit, filter.After = c.Int("limit"), c.Int64("after")
			letters, err := queue.DeadLetters(ctx, box, filter)
			if err != nil {
				return err
			}
			if len(letters) == 0 {
				err = p.noteUnused(ctx, box, filter.Queue)
			}
			return errors.Join(err, p.showDead(c, letters))
		}),
	}
}

func (p *program) showDead(c *ucli.Context, letters []queue.DeadLetter) error {
	docs := make([]deadLetter, 0, len(letters))
	t := &table{header: []string{"ID#", "ATTEMPTS#", "ENDED", "ERROR"}}
	if c.Bool("payload") {
		t.header = append(t.header, "PAYLOAD")
	}
	for _, l := range letters {
		d := deadLetter{ID: l.ID, Queue: l.Queue, Attempts: l.Attempt, MaxAttempts: l.MaxAttempts,
			CreatedAt: l.CreatedAt.UTC(),
			DiedAt:    l.FinishedAt.UTC(), Error: l.LastError}
		row := []any{l.ID, fmt.Sprintf("%d/%d", l.Attempt, l.MaxAttempts), stamp(l.FinishedAt), clip(l.LastError, 80)}
		if c.Bool("payload") {
			d.Payload = l.Raw
			row = append(row, clip(string(l.Raw), 120))
		}
		docs = append(docs, d)
		t.add(row...)
	}
	if len(docs) == 0 && !c.Bool("json") {
		return p.say(c, docs, "no %ss", noun(outbox.DeadFilter{Status: c.String("status")}))
	}
	return p.show(c, docs, t)
}

func (p *program) retry() *ucli.Command {
	return &ucli.Command{
		Name: "retry", Usage: "give dead, cancelled or discarded tasks all their attempts again", ArgsUsage: "ID…",
		Before: needIDs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			n, err := retryDead(ctx, box, ids)
			if err != nil {
				return err
			}
			if n == 0 && len(ids) == 1 {
				return fmt.Errorf("%d is not dead, cancelled or discarded; `strunk show %d` says what it is",
					ids[0], ids[0])
			}
			if n < len(ids) {
				return fmt.Errorf("%d of %d were retried: the others are not dead, cancelled or discarded "+
					"(see `strunk show ID`)", n, len(ids))
			}
			return p.say(c, map[string]any{"retried": n, "ids": ids}, "retried %s", plural(n, "task"))
		}),
	}
}

// retryDead retries dead, cancelled and discarded tasks, and dead copies of events for their subscribers.
func retryDead(ctx context.Context, box *outbox.Box, ids []int64) (done int, err error) {
	for _, status := range []string{outbox.EndedDead, outbox.EndedCancelled, outbox.EndedDiscarded} {
		if done == len(ids) {
			return done, nil
		}
		n, err := queue.RetryDead(ctx, box, outbox.DeadFilter{IDs: ids, Status: status})
		done += n
		if err != nil {
			return done, err
		}
	}
	for _, id := range ids {
		t, lookErr := ops.Task(ctx, box, id)
		if lookErr != nil || t.Kind != ops.KindDelivery || t.Status != queue.StatusDead {
			continue
		}
		n, err := events.RetryDead(ctx, box, t.Subscriber, id)
		done += int(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (p *program) retryAll() *ucli.Command {
	return &ucli.Command{
		Name: "retry-all", Usage: "give all dead letters of a queue all their attempts again", ArgsUsage: "QUEUE",
		Description: "Works in transactions of at most " + strconv.Itoa(deadChunk) +
			". Interrupted, it keeps what it did, and the next call does the rest.\n" +
			"One that dies again meanwhile is not retried twice.",
		Flags:  deadFlags(),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			n, err := p.eachDead(ctx, c, box, "retrying", filter, queue.RetryDead)
			if err == nil && n == 0 {
				err = p.noteUnused(ctx, box, filter.Queue)
			}
			return p.sayCount(c, "retried", filter, n, err)
		}),
	}
}

func (p *program) purge() *ucli.Command {
	return &ucli.Command{
		Name: "purge", Usage: "delete a queue's dead letters for good", ArgsUsage: "QUEUE",
		Flags:  append(deadFlags(), yesFlag()),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				n, err := queue.CountDead(ctx, box, filter)
				if err != nil {
					return err
				}
				if n == 0 {
					return errors.Join(p.noteUnused(ctx, box, filter.Queue),
						p.say(c, map[string]any{"purged": 0}, "no %ss to purge", noun(filter)))
				}
				return usagef("purge would delete %s of %q for good: %v", plural(n, noun(filter)), filter.Queue,
					errNeedYes)
			}
			n, err := p.eachDead(ctx, c, box, "purging", filter, queue.PurgeDead)
			return p.sayCount(c, "purged", filter, n, err)
		}),
	}
}

// errInterrupted ends long work between two transactions.
var errInterrupted = errors.New("interrupted")

// sayCount says how far long work has come, also where an error ended it.
func (p *program) sayCount(c *ucli.Context, what string, filter outbox.DeadFilter, n int, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s, then: %w; call it again for the rest", what, plural(n, noun(filter)), err)
	}
	return p.say(c, map[string]any{what: n}, "%s %s", what, plural(n, noun(filter)))
}

// eachDead works on the dead letters that were there at the beginning, a chunk at a time. The first
// signal lets the chunk that runs end, so that what was done is known; a second one ends the
// process.
func (p *program) eachDead(ctx context.Context, c *ucli.Context, box *outbox.Box, what string, filter outbox.DeadFilter,
	step func(context.Context, *outbox.Box, outbox.DeadFilter) (int, error)) (done int, err error) {
	ids, err := queue.DeadIDs(ctx, box, filter)
	if err != nil {
		return 0, err
	}
	bar := p.bar(c, what, len(ids))
	defer bar.end()
	for chunk := range slices.Chunk(ids, deadChunk) {
		if ctx.Err() != nil {
			return done, errInterrupted
		}
		// After and Limit let the chunk be found without a walk through all that are dead.
		n, err := step(context.WithoutCancel(ctx), box, outbox.DeadFilter{IDs: chunk, Status: filter.Status,
			After: chunk[0] - 1, Limit: len(chunk)})
		done += n
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
