package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// tail prints tasks and events as they come.
func (p *program) tail() *ucli.Command {
	return &ucli.Command{
		Name: "tail", Usage: "print tasks as they are enqueued, fail and end, and events as they are published; " +
			"Ctrl-C ends it",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "queue", Usage: "tasks of this queue only, and no events"},
			&ucli.StringFlag{Name: "entity", Usage: "events of this entity type only, and no tasks"},
			&ucli.DurationFlag{Name: "every", Value: time.Second, Usage: "how often it looks"},
			&ucli.DurationFlag{Name: "for", Usage: "how long; 0 is until Ctrl-C"},
			payloadFlag(),
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if c.String("queue") != "" && c.String("entity") != "" {
				return usagef("tail: give --queue or --entity, not both")
			}
			if c.Duration("every") < 100*time.Millisecond {
				return usagef("tail: --every: %v is less than 100ms", c.Duration("every"))
			}
			if d := c.Duration("for"); d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			return quietEnd(ctx, p.runTail(ctx, c, box))
		}),
	}
}

// runTail goes on after an outage where it was: what came and ended meanwhile is printed too.
func (p *program) runTail(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	filter := ops.ChangeFilter{Queue: c.String("queue"), EntityType: c.String("entity")}
	mark, err := ops.Now(ctx, box)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(c.Duration("every"))
	defer ticker.Stop()
	var away outage
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		lasted := away.lasts()
		err := away.look(ctx, func(ctx context.Context) error {
			changes, next, err := ops.ChangesSince(ctx, box, mark, filter)
			if err != nil {
				return err
			}
			mark = next
			return p.printChanges(c, changes)
		})
		if err != nil {
			return err
		}
		if away.lasts() != lasted {
			p.sayOutage(away)
		}
	}
}

// sayOutage says on the error stream that an outage has begun, or has ended.
func (p *program) sayOutage(o outage) {
	text := "the database answers again"
	if o.lasts() {
		text = o.String()
	}
	fmt.Fprintln(p.Err, "strunk:", printable(p.redact(text)))
}

func (p *program) printChanges(c *ucli.Context, changes []ops.Change) error {
	for _, s := range changes {
		if !c.Bool("payload") {
			s.Payload = nil
		}
		if c.Bool("json") {
			doc, err := json.Marshal(s)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "%s\n", doc)
			continue
		}
		if _, err := fmt.Fprintln(p.Out, changeLine(s, p.colours(c))); err != nil {
			return err
		}
	}
	if len(changes) >= ops.MaxChanges {
		fmt.Fprintln(p.Err, "strunk: more went by than is shown; choose a queue or an entity type")
	}
	return nil
}

func changeLine(s ops.Change, colours bool) string {
	line := fmt.Sprintf("  %-8s  %d  %s", s.Kind, s.ID, s.Queue+s.EntityType)
	due := ""
	if s.DueAt != nil && (s.Happened == ops.ChangeRetry || s.Happened == ops.ChangeDelayed) {
		due = "due " + stamp(*s.DueAt)
	}
	for _, more := range []string{s.EntityID, due, clip(s.Error, 100), clip(string(s.Payload), 200)} {
		if more != "" {
			line += "  " + more
		}
	}
	word := fmt.Sprintf("%-9s", s.Happened)
	if colours {
		word = paint(word)
	}
	return s.At.UTC().Format("15:04:05.000Z") + "  " + word + printable(line)
}
