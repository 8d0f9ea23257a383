package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) limits() *ucli.Command {
	return &ucli.Command{
		Name: "limits", Usage: "show a queue's limits, or set them", ArgsUsage: "QUEUE",
		Description: "With flags it sets all limits of the queue, for all processes and at once: what is not " +
			"given is not limited. " +
			"They hold until a worker starts whose program declares others than before.",
		Flags: []ucli.Flag{
			&ucli.IntFlag{Name: "running", Usage: "how many tasks may run at once"},
			&ucli.IntFlag{Name: "running-per-key", Usage: "how many tasks of one key may run at once"},
			&ucli.StringFlag{Name: "rate", Usage: "how many tasks may begin in a time, such as 100/1m, or " +
				"100/1m/20 for 20 of them at once"},
			&ucli.StringFlag{Name: "rate-per-key", Usage: "the same for each key"},
			&ucli.BoolFlag{Name: "fair", Usage: "let the keys take turns"},
			&ucli.BoolFlag{Name: "fifo", Usage: "run the tasks of a key one at a time, in order"},
			&ucli.BoolFlag{Name: "hold-dead", Usage: "with --fifo: a dead letter keeps its key waiting"},
			&ucli.BoolFlag{Name: "none", Usage: "take all limits away"},
		},
		Before: needs("QUEUE"),
		Action: func(c *ucli.Context) error {
			if limitsGiven(c) {
				return p.changing(p.runLimits)(c)
			}
			return p.withBox(p.runLimits)(c)
		},
	}
}

func (p *program) runLimits(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	name, err := oneArg(c, "QUEUE")
	if err != nil {
		return err
	}
	if limitsGiven(c) {
		l, err := givenLimits(c)
		if err != nil {
			return err
		}
		if err := rawQueue(name).SetLimits(ctx, box, l); err != nil {
			return err
		}
		p.changed++
	}
	p.noteMisspelt(ctx, box, name)
	l, err := ops.QueueLimits(ctx, box, name)
	if err != nil {
		return err
	}
	if l.None() {
		return p.say(c, l, "queue %q has no limits", name)
	}
	running := "-"
	if l.Running != nil {
		running = strconv.Itoa(*l.Running)
	}
	t := newFields("QUEUE", name)
	t.add("running", running)
	t.add("running per key", numberOrDash(l.RunningPerKey))
	t.add("rate", rateText(l.Rate))
	t.add("rate per key", rateText(l.RatePerKey))
	t.add("order", orderText(l.LimitValues))
	return p.show(c, l, t)
}

// limitFlags set limits.
var limitFlags = []string{"running", "running-per-key", "rate", "rate-per-key", "fair", "fifo", "hold-dead"}

func limitsGiven(c *ucli.Context) bool {
	given := c.Bool("none")
	for _, f := range limitFlags {
		given = given || c.IsSet(f)
	}
	return given
}

func givenLimits(c *ucli.Context) (l queue.Limits, err error) {
	if c.Bool("none") {
		for _, f := range limitFlags {
			if c.IsSet(f) {
				return l, usagef("limits: --none and --%s exclude each other", f)
			}
		}
		return l, nil
	}
	for _, f := range []string{"running", "running-per-key"} {
		if c.IsSet(f) && c.Int(f) < 1 {
			return l, usagef("limits: --%s: %d is not 1 or more; to stop a queue, pause it", f, c.Int(f))
		}
	}
	l = queue.Limits{Running: c.Int("running"), RunningPerKey: c.Int("running-per-key"), Fair: c.Bool("fair"),
		FIFO: c.Bool("fifo"), HoldDead: c.Bool("hold-dead")}
	if l.Rate, err = parseRate("limits", "rate", c.String("rate")); err != nil {
		return l, err
	}
	l.RatePerKey, err = parseRate("limits", "rate-per-key", c.String("rate-per-key"))
	return l, err
}

// parseRate reads COUNT/TIME or COUNT/TIME/BURST.
func parseRate(command, flag, text string) (r queue.Rate, err error) {
	if text == "" {
		return r, nil
	}
	parts := strings.Split(text, "/")
	bad := usagef("%s: --%s: %q is not a count and a time, such as 100/1m, nor with a burst, such as 100/1m/20",
		command, flag, text)
	if len(parts) < 2 || len(parts) > 3 {
		return r, bad
	}
	if r.Count, err = strconv.Atoi(parts[0]); err != nil {
		return r, bad
	}
	if r.Per, err = time.ParseDuration(parts[1]); err != nil {
		return r, bad
	}
	if len(parts) == 3 {
		if r.Burst, err = strconv.Atoi(parts[2]); err != nil || r.Burst < 1 {
			return r, bad
		}
	}
	return r, nil
}

func rateText(r *ops.Rate) string {
	switch {
	case r == nil:
		return "-"
	case r.Burst > 1:
		return fmt.Sprintf("%d in %v, %d at once", r.Count, r.Per, r.Burst)
	}
	return fmt.Sprintf("%d in %v", r.Count, r.Per)
}

func numberOrDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func orderText(l ops.LimitValues) string {
	switch {
	case l.Fair && (l.FIFO || l.HoldDead):
		l.Fair = false
		return "keys take turns, " + orderText(l)
	case l.Fair:
		return "keys take turns"
	case l.HoldDead:
		return "fifo, dead letters hold"
	case l.FIFO:
		return "fifo"
	}
	return "-"
}
