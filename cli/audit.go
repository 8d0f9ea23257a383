package cli

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// changing is withBox for a command that changes something: who did what to how much is kept in the database. The
// command adds what it has changed to p.changed.
func (p *program) changing(fn func(ctx context.Context, c *ucli.Context, box *outbox.Box) error) ucli.ActionFunc {
	return p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) (err error) {
		if c.Bool("dry-run") {
			return fn(ctx, c, box)
		}
		note, err := ops.NoteChange(ctx, box, ops.NewChange{Actor: actor(), Action: c.Command.FullName(),
			Target: p.redact(target(c)), Reason: p.redact(c.String("reason"))})
		if err != nil {
			return err
		}
		err = fn(ctx, c, box)
		var noted error
		if err != nil {
			noted = errors.New(p.redact(err.Error()))
		}
		// What was interrupted is noted too.
		return errors.Join(err, note.End(context.WithoutCancel(ctx), p.changed, noted))
	})
}

// actorVariable says who runs the program, where many share a user of the operating system.
const actorVariable = "STRUNK_ACTOR"

// actor is who runs the program: what STRUNK_ACTOR says, or the user as the operating system knows it.
func actor() string {
	if name := os.Getenv(actorVariable); name != "" {
		return name
	}
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// target is what a command was given: its arguments, and its flags but for --yes and --reason. A payload is left out.
func target(c *ucli.Context) string {
	var words []string
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if value, ok := f.(ucli.DocGenerationFlag); c.IsSet(name) && name != "yes" && name != "reason" {
			if words = append(words, "--"+name); ok && value.TakesValue() {
				words[len(words)-1] += "=" + valueOf(c, name)
			}
		}
	}
	args := c.Args().Slice()
	if c.Command.Name == "enqueue" {
		args = args[:min(1, len(args))]
	}
	return strings.Join(append(args, words...), " ")
}

func (p *program) audit() *ucli.Command {
	return &ucli.Command{
		Name: "audit", Usage: "list what people have changed, newest first: by whom, when, and how many rows",
		Flags:  []ucli.Flag{&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"}},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			changes, err := ops.ChangesMade(ctx, box, ops.ChangeRecordFilter{Limit: c.Int("limit")})
			if err != nil {
				return err
			}
			t := &table{header: []string{"AT@", "BY~", "ROLE~?", "COMMAND", "ON~", "CHANGED#", "REASON~?", "ERROR~?"}}
			for _, r := range changes {
				t.add(r.At, r.Actor, r.Role, r.Action, clip(r.Target, 60), r.Changed,
					orDash(clip(r.Reason, 60)), orDash(clip(r.Error, 60)))
			}
			return p.showList(c, changes, t, "nobody has changed anything in the last 90 days")
		}),
	}
}
