package cli

import (
	"context"
	"fmt"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) rates() *ucli.Command {
	return &ucli.Command{
		Name:  "rates",
		Usage: "count what happened to tasks and events lately: done, failed, how long they waited and ran",
		Flags: append(pageFlags(),
			&ucli.StringFlag{Name: "queue", Usage: "of this queue only"},
			&ucli.StringFlag{Name: "subscriber", Usage: "of this subscriber only"},
			&ucli.DurationFlag{Name: "window", Value: ops.DefaultRatesWindow,
				Usage: "how far back; two days at most"},
			&ucli.DurationFlag{Name: "step", Value: ops.DefaultRatesStep,
				Usage: "how much time --json takes together, whole minutes"}),
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			r, err := ops.Rates(ctx, box, ops.RatesFilter{Queue: c.String("queue"), Subscriber: c.String("subscriber"),
				Window: c.Duration("window"), Step: c.Duration("step"), After: c.String("after"),
				Limit: c.Int("limit")})
			if err != nil {
				return err
			}
			t := &table{header: []string{"OF?", "NAME~", "ENQUEUED#?", "DONE#", "FAILED#", "DEAD#", "WAIT P50#?",
				"WAIT P95#", "RUN P50#?", "RUN P95#"}}
			for _, q := range r.Queues {
				n := q.Total
				t.add("queue", q.Queue, n.Enqueued, n.Done, n.Failed, n.Dead, ago(n.Wait.P50), ago(n.Wait.P95),
					ago(n.Run.P50), ago(n.Run.P95))
			}
			for _, s := range r.Subscribers {
				n := s.Total
				t.add("subscriber", s.Subscriber, "-", n.Handled, n.Failed, n.Dead, ago(n.Wait.P50), ago(n.Wait.P95),
					ago(n.Run.P50), ago(n.Run.P95))
			}
			return p.showList(c, r, t, "nothing was counted in that time")
		}),
	}
}

// latelyFor is how far back the rates of queues look.
const latelyFor = 5 * time.Minute

// lately is what happened to queues in the last latelyFor, as all processes have counted it.
type lately struct {
	report ops.RatesReport
	queues map[string]ops.QueueStep
}

// readLately reads the rates of one queue or, where the name is empty, of those after a name.
func readLately(ctx context.Context, box *outbox.Box, queue, after string) (l lately, err error) {
	l.report, err = ops.Rates(ctx, box, ops.RatesFilter{Queue: queue, After: after, Window: latelyFor,
		Limit: ops.MaxLimit})
	l.queues = map[string]ops.QueueStep{}
	for _, q := range l.report.Queues {
		l.queues[q.Queue] = q.Total
	}
	return l, err
}

// queueLine is a queue with what happened to it lately, since At.
type queueLine struct {
	ops.Queue
	Lately ops.QueueStep `json:"lately"`
}

// with adds to queues what happened to them.
func (l lately) with(queues []ops.Queue) []queueLine {
	lines := make([]queueLine, len(queues))
	for i, q := range queues {
		lines[i] = queueLine{q, l.of(q.Name)}
	}
	return lines
}

func (l lately) of(queue string) ops.QueueStep {
	step, counted := l.queues[queue]
	if !counted {
		step.At = l.report.From
	}
	return step
}

// all is what addTo shows, of all queues together.
func (l lately) all() (sum ops.QueueStep) {
	for _, q := range l.queues {
		sum.Enqueued += q.Enqueued
		sum.Done += q.Done
		sum.Failed += q.Failed
	}
	if sum.Failed > 0 {
		sum.FailedShare = float64(sum.Failed) / float64(sum.Failed+sum.Done)
	}
	return sum
}

// rate is how many there were in a minute.
func (l lately) rate(n int64) string {
	switch perMinute := l.report.PerMinute(n); {
	case n == 0:
		return "-"
	case perMinute < 10:
		return fmt.Sprintf("%.1f", perMinute)
	default:
		return fmt.Sprintf("%.0f", perMinute)
	}
}

// failed is the share of attempts that failed.
func failed(s ops.QueueStep) string {
	switch {
	case s.Failed == 0:
		return "-"
	case s.FailedShare < 0.01:
		return "<1%"
	}
	return fmt.Sprintf("%.0f%%", 100*s.FailedShare)
}

// addTo adds the rates to the fields of a queue, or of everything.
func (l lately) addTo(t *table, s ops.QueueStep) {
	t.add("enqueued a minute", l.rate(s.Enqueued))
	t.add("done a minute", l.rate(s.Done))
	t.add("attempts failed", failed(s))
}
