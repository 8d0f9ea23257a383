package cli

import (
	"context"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) keyLimits() *ucli.Command {
	return &ucli.Command{
		Name: "key-limits", Usage: "list what is different for customer keys of a queue, or set it",
		ArgsUsage: "QUEUE [KEY…]",
		Description: "With flags it sets what is different for the keys, for all processes and at once: what is not " +
			"given is as for all keys of the queue.",
		Flags: []ucli.Flag{
			&ucli.IntFlag{Name: "weight", Usage: "how many turns a key gets for each turn of another, in a fair queue"},
			&ucli.IntFlag{Name: "running", Usage: "how many of a key's tasks may run at once, where that is limited"},
			&ucli.StringFlag{Name: "rate", Usage: "how many of a key's tasks may begin in a time, where that is " +
				"limited, such as 100/1m, or 100/1m/20 for 20 of them at once"},
			&ucli.BoolFlag{Name: "none", Usage: "make the keys as all others"},
			&ucli.StringFlag{Name: "after", Usage: "keys after this one, for the next page"},
			&ucli.IntFlag{Name: "limit", Usage: "how many", Value: ops.DefaultLimit},
		},
		Before: needsKeys,
		Action: func(c *ucli.Context) error {
			if keyLimitsGiven(c) {
				return p.changing(p.setKeyLimits)(c)
			}
			return p.withBox(p.listKeyLimits)(c)
		},
	}
}

func keyLimitsGiven(c *ucli.Context) bool {
	return c.Bool("none") || differs(c)
}

// differs reports whether a flag says what is different for the keys.
func differs(c *ucli.Context) bool { return c.IsSet("weight") || c.IsSet("running") || c.IsSet("rate") }

// needsKeys checks the arguments: keys belong to flags that set, a page to none.
func needsKeys(c *ucli.Context) error {
	set, keys := keyLimitsGiven(c), c.Args().Tail()
	switch {
	case c.Args().First() == "":
		return usagef("key-limits: give a QUEUE")
	case set && len(keys) == 0:
		return usagef("key-limits: of which KEY?")
	case !set && len(keys) > 0:
		return usagef("key-limits: what is different for %s? give --weight, --running, --rate or --none",
			strings.Join(keys, ", "))
	case set && (c.IsSet("after") || c.IsSet("limit")):
		return usagef("key-limits: --after and --limit are of the list")
	case c.Bool("none") && differs(c):
		return usagef("key-limits: --none excludes --weight, --running and --rate")
	}
	for _, f := range []string{"weight", "running"} {
		if c.IsSet(f) && c.Int(f) < 1 {
			return usagef("key-limits: --%s: %d is not 1 or more", f, c.Int(f))
		}
	}
	return nil
}

func (p *program) setKeyLimits(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	name, keys := c.Args().First(), c.Args().Tail()
	rate, err := parseRate("key-limits", "rate", c.String("rate"))
	if err != nil {
		return err
	}
	var shown *ops.Rate
	if rate.Count > 0 {
		shown = &ops.Rate{Count: rate.Count, Per: ops.Duration{Duration: rate.Per}, Burst: max(rate.Burst, 1)}
	}
	l := queue.KeyLimits{Weight: c.Int("weight"), Running: c.Int("running"), Rate: rate}
	if err := rawQueue(name).SetKeyLimits(ctx, box, l, keys...); err != nil {
		return err
	}
	p.changed += int64(len(keys))
	p.noteMisspelt(ctx, box, name)
	all := make([]ops.KeyLimits, len(keys))
	for i, key := range keys {
		all[i] = ops.KeyLimits{Queue: name, CustomerKey: key, Weight: l.Weight, Running: l.Running,
			Rate: shown}
	}
	if c.Bool("none") {
		return p.say(c, all, "as all keys of queue %q: %s", name, strings.Join(keys, ", "))
	}
	return p.show(c, all, keyLimitsTable(all))
}

func (p *program) listKeyLimits(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	name := c.Args().First()
	p.noteMisspelt(ctx, box, name)
	all, err := ops.ListKeyLimits(ctx, box, name, ops.Page{After: c.String("after"), Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	return p.showList(c, all, keyLimitsTable(all), "all keys of the queue are alike")
}

func keyLimitsTable(all []ops.KeyLimits) *table {
	t := &table{header: []string{"KEY~", "WEIGHT#", "RUNNING#", "RATE"}}
	for _, l := range all {
		t.add(l.CustomerKey, max(l.Weight, 1), numberOrDash(l.Running), rateText(l.Rate))
	}
	return t
}
