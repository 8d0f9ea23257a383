package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) stats() *ucli.Command {
	return &ucli.Command{
		Name: "stats", Usage: "show the state of the installation, or of one queue",
		Flags:  []ucli.Flag{&ucli.StringFlag{Name: "queue", Usage: "of this queue only"}},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if name := c.String("queue"); name != "" {
				q, err := ops.QueueStats(ctx, box, name)
				if err != nil {
					return err
				}
				rates, err := readLately(ctx, box, name, "")
				if err != nil {
					return err
				}
				p.noteEmpty(q)
				return p.show(c, q, queueTable(queueLine{q, rates.of(name)}, rates))
			}
			o, err := ops.OverallStats(ctx, box)
			if err != nil {
				return err
			}
			rates, err := readLately(ctx, box, "", "")
			if err != nil {
				return err
			}
			return p.show(c, o, overallTable(o, rates))
		}),
	}
}

// noteEmpty says on the error stream that a queue is unused: its name may be misspelt, and no number would tell.
func (p *program) noteEmpty(q ops.Queue) {
	if q.Scheduled.Precision == ops.AtLeast {
		return // nobody has counted
	}
	tasks := q.Pending.N + q.Scheduled.N + q.Claimed.N + q.Dead.N + q.Cancelled.N + q.Discarded.N
	if tasks == 0 && q.Workers == 0 && q.PausedAt == nil && q.HeldUntil == nil {
		fmt.Fprintf(p.Err, "strunk: note: queue %q has no waiting task, dead letter or worker; `strunk queues` "+
			"lists those that have\n", q.Name)
	}
}

// noteUnused is noteEmpty for a command that found nothing to do.
func (p *program) noteUnused(ctx context.Context, box *outbox.Box, queue string) error {
	q, err := ops.QueueStats(ctx, box, queue)
	if err == nil {
		p.noteEmpty(q)
	}
	return err
}

// noteMisspelt is noteEmpty for a command that has set something for a queue, and keeps nothing from being done.
func (p *program) noteMisspelt(ctx context.Context, box *outbox.Box, queue string) {
	if q, err := ops.QueueStats(ctx, box, queue); err == nil {
		q.PausedAt, q.HeldUntil = nil, nil
		p.noteEmpty(q)
	}
}

func queueTable(q queueLine, rates lately) *table {
	t := newFields("QUEUE", q.Name)
	for _, row := range [][2]any{{"pending", q.Pending}, {"scheduled", q.Scheduled}, {"claimed", q.Claimed},
		{"dead", q.Dead}, {"cancelled", q.Cancelled},
		{"discarded", q.Discarded}, {"delivered", countOrDash(q.Delivered)},
		{"waiting for", ago(q.WaitingFor)}, {"next due", stampOrDash(q.NextDueAt)}, {"workers", q.Workers},
		{"concurrency", q.Concurrency},
		{"state", q.State(ops.Thresholds{})},
		{"paused since", stampOrDash(q.PausedAt)}, {"paused by", orDash(pausedBy(q.Queue))},
		{"on hold until", stampOrDash(q.HeldUntil)}} {
		t.add(row[0], row[1])
	}
	rates.addTo(t, q.Lately)
	t.add("wait, p95", ago(q.Lately.Wait.P95))
	t.add("run, p95", ago(q.Lately.Run.P95))
	return t
}

func overallTable(o ops.Overall, rates lately) *table {
	t := newFields("WHAT", "NUMBER")
	for _, row := range [][2]any{{"tasks pending", o.Pending}, {"tasks scheduled", o.Scheduled},
		{"tasks claimed", o.Claimed},
		{"tasks delivered", o.Delivered}, {"dead letters", o.Dead}, {"tasks cancelled", o.Cancelled},
		{"tasks discarded", o.Discarded}, {"events waiting for the relay", o.EventsWaiting},
		{"events kept", o.EventsKept}, {"head of the feed", o.Head}, {"deliveries", o.Deliveries},
		{"workers", o.Workers},
		{"subscribers", o.Subscribers}, {"schedules", o.Schedules}, {"table size", size(o.TableBytes)}} {
		t.add(row[0], row[1])
	}
	rates.addTo(t, rates.all())
	if o.Paused != nil {
		t.add("all queues paused since", stamp(o.Paused.Since))
		t.add("all queues paused by", pausedBy(ops.Queue{PausedBy: o.Paused.By, PauseReason: o.Paused.Reason}))
	}
	return t
}

func (p *program) queues() *ucli.Command {
	return &ucli.Command{
		Name: "queues", Usage: "list the queues",
		Flags:  pageFlags(),
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			queues, err := ops.Queues(ctx, box, page(c))
			if err != nil {
				return err
			}
			rates, err := readLately(ctx, box, "", page(c).After)
			if err != nil {
				return err
			}
			t := &table{header: []string{"QUEUE~", "PENDING#", "SCHEDULED#?", "CLAIMED#", "DONE/MIN#", "FAILED#?",
				"WAIT P95#?", "DEAD#", "WAITING FOR#", "WORKERS#?", "STATE"}}
			for _, q := range rates.with(queues) {
				t.add(q.Name, q.Pending, q.Scheduled, q.Claimed, rates.rate(q.Lately.Done), failed(q.Lately),
					ago(q.Lately.Wait.P95), q.Dead, ago(q.WaitingFor), q.Workers, q.State(ops.Thresholds{}))
			}
			return p.showList(c, queues, t, "no queues")
		}),
	}
}

// pausedBy says who has paused a queue, and why.
func pausedBy(q ops.Queue) string {
	by := q.PausedBy
	if q.PauseReason != "" {
		by += ": " + q.PauseReason
	}
	return clip(by, 120)
}

func (p *program) health() *ucli.Command {
	return &ucli.Command{
		Name: "health", Usage: "say which loop, queue or subscriber is behind; exit code 3 when something is",
		Flags: []ucli.Flag{
			&ucli.DurationFlag{Name: "oldest-pending", Value: ops.DefaultOldestPending,
				Usage: "how long a task may wait"},
			&ucli.DurationFlag{Name: "subscriber-lag", Value: ops.DefaultSubscriberLag,
				Usage: "how far a subscriber may be behind"},
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			report, err := ops.Health(ctx, box, ops.Thresholds{OldestPending: c.Duration("oldest-pending"),
				SubscriberLag: c.Duration("subscriber-lag")})
			if err != nil {
				return err
			}
			t := &table{header: []string{"CHECK", "STATUS", "FOUND&"}}
			for _, check := range report.Checks {
				t.add(check.Name, check.Status, check.Message)
			}
			if err := p.show(c, report, t); err != nil {
				return err
			}
			if report.Status == ops.StatusFail {
				return &exitError{ExitUnhealthy, ""}
			}
			return nil
		}),
	}
}

func pageFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"},
		&ucli.StringFlag{Name: "after", Usage: "only names after this one: to page on"},
	}
}

func page(c *ucli.Context) ops.Page { return ops.Page{After: c.String("after"), Limit: c.Int("limit")} }

// showList says so where there is nothing to list.
func (p *program) showList(c *ucli.Context, docs any, t *table, nothing string) error {
	if len(t.rows) == 0 && !c.Bool("json") {
		return p.say(c, docs, "%s", nothing)
	}
	return p.show(c, docs, t)
}

func noArgs(c *ucli.Context) error {
	if c.Args().Present() {
		return usagef("%s: takes no arguments, not %q", c.Command.Name, strings.Join(c.Args().Slice(), " "))
	}
	return nil
}

func countOrDash(n *ops.Count) string {
	if n == nil {
		return "-"
	}
	return n.String()
}

func stampOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return stamp(*t)
}

// ago renders a time span as people say it.
func ago(d ops.Duration) string {
	switch {
	case d.Duration <= 0:
		return "-"
	case d.Duration < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func size(bytes int64) string {
	const kib = 1024
	if bytes < kib {
		return fmt.Sprintf("%d B", bytes)
	}
	v, unit := float64(bytes)/kib, 0
	for v >= kib && unit < 4 {
		v, unit = v/kib, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}
