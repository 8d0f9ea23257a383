package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// topRows is how many queues, subscribers and workers a screen has; topScan from how many the worst are chosen.
	topRows = 20
	topScan = 500
)

// Sequences of a terminal: whether a long line goes on below or is cut, the beginning of a row, and
// what erases all behind the cursor, which stands on the last column where a line was cut: what the
// terminal heaps up there goes too.
const (
	wrapOff, wrapOn = "\x1b[?7l", "\x1b[?7h"
	startOfRow      = "\x1b[%d;1H"
	eraseBelow      = "\x1b[J"
)

// onScreen draws a text over what a terminal shows. A terminal that is too small cuts lines at its
// edge, and those below it fall on its last row, so that the first ones stay in sight.
func onScreen(text string) string {
	var b strings.Builder
	b.WriteString(wrapOff)
	for i, line := range strings.Split(text, "\n") {
		fmt.Fprintf(&b, startOfRow+"%s"+eraseBelow, i+1, line)
	}
	return b.String() + wrapOn
}

// top shows queues, rates, lag and workers again and again.
func (p *program) top() *ucli.Command {
	return &ucli.Command{
		Name: "top", Usage: "a screen of queues, rates, lag and workers that refreshes; Ctrl-C ends it",
		Flags: []ucli.Flag{
			&ucli.DurationFlag{Name: "every", Value: 2 * time.Second, Usage: "how often it refreshes"},
			&ucli.IntFlag{Name: "times", Usage: "how often at the most; 0 is until Ctrl-C"},
			&ucli.StringFlag{Name: "sort", Value: sortWorst, Usage: "what comes first: " + sortNames()},
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if c.Duration("every") < 100*time.Millisecond {
				return usagef("top: --every: %v is less than 100ms", c.Duration("every"))
			}
			if topOrders[c.String("sort")] == nil {
				return usagef("top: --sort: %q is not one of %s", c.String("sort"), sortNames())
			}
			return p.runTop(ctx, c, box)
		}),
	}
}

func (p *program) runTop(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	ticker := time.NewTicker(c.Duration("every"))
	defer ticker.Stop()
	if p.onTerminal() && !c.Bool("json") {
		defer fmt.Fprintln(p.Out) // the shell's next line stands below the screen
	}
	var now, before sample
	var away outage
	for n := 0; ; {
		err := away.look(ctx, func(ctx context.Context) error {
			s, err := takeSample(ctx, box, c.String("sort"))
			if err == nil {
				before, now = now, s
			}
			return err
		})
		switch {
		case err != nil:
			return quietEnd(ctx, err)
		case away.lasts():
			err = p.showOutage(c, now, before, away)
		default:
			n++
			err = p.showSample(c, now, before)
		}
		if err != nil || n > 0 && n == c.Int("times") {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// showOutage puts a banner over what was seen last; programs get a document that says what is wrong.
func (p *program) showOutage(c *ucli.Context, last, before sample, o outage) error {
	banner := printable(p.redact(o.String()))
	switch {
	case c.Bool("json"):
		return json.NewEncoder(p.Out).Encode(outageDoc{time.Now().UTC(), banner})
	case !p.onTerminal():
		_, err := fmt.Fprintln(p.Err, "strunk:", banner)
		return err
	}
	l := p.look(c)
	if l.colours {
		banner = red + banner + plain
	}
	screen := "strunk  " + banner
	if !last.at.IsZero() {
		screen += "\n" + last.render(before, l)
	}
	_, err := io.WriteString(p.Out, onScreen(screen))
	return err
}

// outageDoc is what --json prints while the database is away.
type outageDoc struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// showSample prints a screen, or a line of JSON.
func (p *program) showSample(c *ucli.Context, now, before sample) error {
	if c.Bool("json") {
		return json.NewEncoder(p.Out).Encode(sampleDoc{now.at.UTC(), now.overall, now.queues, now.subscribers,
			now.workers})
	}
	screen := now.render(before, p.look(c))
	if p.onTerminal() {
		screen = onScreen(screen)
	} else {
		screen += "\n"
	}
	_, err := io.WriteString(p.Out, screen)
	return err
}

// sampleDoc is a sample as --json prints it.
type sampleDoc struct {
	At          time.Time        `json:"at"`
	Overall     ops.Overall      `json:"overall"`
	Queues      []queueLine      `json:"queues"`
	Subscribers []ops.Subscriber `json:"subscribers"`
	Workers     []ops.Worker     `json:"workers"`
}

// quietEnd makes an error nil that only says that the user has ended the command.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// sample is what one screen shows.
type sample struct {
	at          time.Time
	counters    ops.Counters
	overall     ops.Overall
	rates       lately
	queues      []queueLine
	subscribers []ops.Subscriber
	workers     []ops.Worker
}

func takeSample(ctx context.Context, box *outbox.Box, order string) (s sample, err error) {
	s.at = time.Now()
	if s.counters, err = ops.ReadCounters(ctx, box); err != nil {
		return s, err
	}
	if s.overall, err = ops.OverallStats(ctx, box); err != nil {
		return s, err
	}
	queues, err := ops.Queues(ctx, box, ops.Page{Limit: topScan})
	if err != nil {
		return s, err
	}
	if s.rates, err = readLately(ctx, box, "", ""); err != nil {
		return s, err
	}
	s.queues = s.rates.with(ops.WorstFirst(queues, ops.Thresholds{}))
	if s.subscribers, err = ops.Subscribers(ctx, box, ops.Page{Limit: topScan}); err != nil {
		return s, err
	}
	s.workers, err = ops.Workers(ctx, box, ops.WorkerFilter{Limit: topScan})
	s.sort(order)
	return s, err
}

func (s sample) render(before sample, l look) string {
	var b strings.Builder
	o := s.overall
	fmt.Fprintf(&b, "strunk  %s UTC  pending %s  claimed %s  scheduled %s  dead %s\nfeed at %d  size %s",
		s.at.UTC().Format(time.TimeOnly), o.Pending, o.Claimed, o.Scheduled, o.Dead, o.Head, size(o.TableBytes))
	if span := s.at.Sub(before.at).Seconds(); !before.at.IsZero() && span > 0 {
		fmt.Fprintf(&b, "  rows in %.0f/s  tasks done %.0f/s  events %.0f/s",
			float64(s.counters.Enqueued-before.counters.Enqueued)/span,
			float64(s.counters.Delivered-before.counters.Delivered)/span, float64(o.Head-before.overall.Head)/span)
	}
	b.WriteString("\n")
	queues := &table{header: []string{"QUEUE~", "PENDING#", "CLAIMED#?", "SCHEDULED#?", "DONE/MIN#", "FAILED#",
		"WAIT P95#?", "DEAD#", "WAITING FOR#", "STATE"}}
	for _, q := range s.queues {
		queues.add(q.Name, q.Pending, q.Claimed, q.Scheduled, s.rates.rate(q.Lately.Done), failed(q.Lately),
			ago(q.Lately.Wait.P95), q.Dead, ago(q.WaitingFor), q.State(ops.Thresholds{}))
	}
	subs := &table{header: []string{"SUBSCRIBER~", "CURSOR#?", "WAITING#", "LAG#", "DEAD#", "STATE~"}}
	for _, sub := range s.subscribers {
		subs.add(sub.Name, sub.Cursor, sub.Waiting, ago(sub.Lag), sub.Dead, subscriberState(sub))
	}
	workers := &table{header: []string{"WORKS ON~", "PROCESS~", "HOLDS#", "AT ONCE#", "SILENT FOR#"}}
	for _, w := range s.workers {
		workers.add(w.Queue, fmt.Sprintf("%s/%d", w.Host, w.PID), w.Claimed, w.Concurrency, ago(w.SilentFor))
	}
	for _, t := range []*table{queues, subs, workers} {
		if len(t.rows) > 0 {
			b.WriteString("\n" + t.render(l))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
