package cli

import (
	"context"
	"fmt"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) holds() *ucli.Command {
	return &ucli.Command{
		Name: "holds", Usage: "list what is on hold, or set or lift a hold",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "queue", Usage: "of this queue"},
			&ucli.IntFlag{Name: "limit", Usage: "how many", Value: ops.DefaultLimit},
		},
		Action:      p.withBox(p.listHolds),
		Subcommands: []*ucli.Command{p.setHold(), p.liftHold()},
	}
}

func keyFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "key", Usage: "this customer key alone, instead of the whole queue"}
}

func (p *program) listHolds(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.Args().Present() {
		return usagef("holds: there is no %q; see `strunk holds --help`", c.Args().First())
	}
	holds, err := ops.Holds(ctx, box, ops.HoldFilter{Queue: c.String("queue"), Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	t := &table{header: []string{"QUEUE~", "KEY~", "UNTIL@", "SINCE@?", "BY~?", "REASON~"}}
	for _, h := range holds {
		t.add(h.Queue, orDash(h.CustomerKey), stamp(h.Until), stamp(h.Since), h.HeldBy, clip(h.Reason, 60))
	}
	return p.showList(c, holds, t, "nothing is on hold")
}

func (p *program) setHold() *ucli.Command {
	return &ucli.Command{
		Name: "set", Usage: "begin no task of a queue, or of one customer key, for a while", ArgsUsage: "QUEUE",
		Flags: []ucli.Flag{
			&ucli.DurationFlag{Name: "for", Usage: "how long, such as 90s, 15m or 24h"},
			keyFlag(),
			&ucli.StringFlag{Name: "reason", Usage: "for those who find it on hold"},
		},
		Before: needs("QUEUE"),
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			name, err := oneArg(c, "QUEUE")
			if err != nil {
				return err
			}
			if !c.IsSet("for") {
				return usagef("holds set: for how long? give --for")
			}
			until, err := ops.SetHold(ctx, box, ops.NewHold{Queue: name, CustomerKey: c.String("key"),
				For: c.Duration("for"), Reason: c.String("reason")})
			if err != nil {
				return err
			}
			p.changed++
			p.noteMisspelt(ctx, box, name)
			until = until.UTC()
			doc := holdDoc{Queue: name, CustomerKey: c.String("key"), Until: &until}
			return p.say(c, doc, "%s is on hold until %s", doc, stamp(until))
		}),
	}
}

func (p *program) liftHold() *ucli.Command {
	return &ucli.Command{
		Name: "lift", Usage: "end a hold before its time", ArgsUsage: "QUEUE",
		Flags:  []ucli.Flag{keyFlag()},
		Before: needs("QUEUE"),
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			name, err := oneArg(c, "QUEUE")
			if err != nil {
				return err
			}
			lifted, err := ops.LiftHold(ctx, box, name, c.String("key"))
			if err != nil {
				return err
			}
			doc := holdDoc{Queue: name, CustomerKey: c.String("key"), Lifted: &lifted}
			if !lifted {
				return p.say(c, doc, "%s was not on hold", doc)
			}
			p.changed++
			return p.say(c, doc, "lifted the hold of %s", doc)
		}),
	}
}

// holdDoc says in JSON what has become of a hold.
type holdDoc struct {
	Queue       string     `json:"queue"`
	CustomerKey string     `json:"customer_key,omitempty"`
	Until       *time.Time `json:"until,omitempty"`
	Lifted      *bool      `json:"lifted,omitempty"`
}

func (d holdDoc) String() string {
	if d.CustomerKey == "" {
		return fmt.Sprintf("queue %q", d.Queue)
	}
	return fmt.Sprintf("key %q of queue %q", d.CustomerKey, d.Queue)
}
