package cli

import (
	"context"
	"errors"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) subscribers() *ucli.Command {
	return &ucli.Command{
		Name: "subscribers", Usage: "list the subscribers of state events, or pause, resume or unregister one",
		Flags: pageFlags(),
		Subcommands: []*ucli.Command{
			p.onSubscriber("pause", "deliver no more events to a subscriber, in whatever process it runs", "paused",
				events.Pause),
			p.onSubscriber("resume", "end a pause", "resumed", events.Resume),
			p.unregister(),
		},
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if c.Args().Present() {
				return usagef("subscribers: there is no %q; see `strunk subscribers --help`", c.Args().First())
			}
			subs, err := ops.Subscribers(ctx, box, page(c))
			if err != nil {
				return err
			}
			t := &table{header: []string{"SUBSCRIBER~", "EVENTS OF~?", "CURSOR#?", "HEAD#?", "WAITING#", "LAG#",
				"DELIVERIES#", "DEAD#", "STATE~", "OWNER~?"}}
			for _, s := range subs {
				t.add(s.Name, s.EntityType, s.Cursor, s.Head, s.Waiting, ago(s.Lag), s.Deliveries, s.Dead,
					subscriberState(s), dash(s.Owner))
			}
			return p.showList(c, subs, t, "no subscribers")
		}),
	}
}

func (p *program) onSubscriber(name, usage, did string,
	act func(context.Context, *outbox.Box, string) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "NAME", Before: needs("NAME"),
		Action: p.changingName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			if err := act(ctx, box, name); err != nil {
				return err
			}
			p.changed++
			return p.say(c, map[string]any{"subscriber": name, did: true}, "%s subscriber %q", did, name)
		}),
	}
}

func (p *program) unregister() *ucli.Command {
	return &ucli.Command{
		Name: "unregister", Usage: "forget a subscriber that runs no more, and what is parked for it",
		ArgsUsage: "NAME",
		Description: "Retention waits for it no longer. Its dead letters stay. A process that still runs it " +
			"registers it anew.",
		Flags: []ucli.Flag{yesFlag()}, Before: needs("NAME"),
		Action: p.changingName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			s, err := ops.SubscriberStats(ctx, box, name)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				return usagef("unregister would forget subscriber %q (%s) at position %d, and %s deliveries that are "+
					"parked or wait: %v", name, subscriberState(s), s.Cursor, s.Deliveries, errNeedYes)
			}
			if err := events.Unregister(ctx, box, name); err != nil {
				return err
			}
			p.changed++
			return p.say(c, map[string]any{"subscriber": name, "cursor": s.Cursor, "unregistered": true},
				"unregistered subscriber %q, which was at position %d", name, s.Cursor)
		}),
	}
}

// subscriberState is the state of a subscriber, and where it is blocked.
func subscriberState(s ops.Subscriber) string {
	state := string(s.State(ops.Thresholds{}))
	if s.Blocked != nil && state == string(ops.StateBlocked) {
		state += fmt.Sprintf(" at %d", s.Blocked.Position)
	}
	return state
}

func (p *program) lag() *ucli.Command {
	return &ucli.Command{
		Name: "lag", Usage: "show how far a subscriber is behind", ArgsUsage: "NAME",
		Before: needs("NAME"),
		Action: p.withName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			s, err := ops.SubscriberStats(ctx, box, name)
			if err != nil {
				return err
			}
			t := newFields("SUBSCRIBER", s.Name)
			for _, row := range [][2]any{{"events of", s.EntityType}, {"state", subscriberState(s)},
				{"cursor", s.Cursor}, {"head of the feed", s.Head},
				{"waiting", s.Waiting}, {"lag", ago(s.Lag)}, {"deliveries", s.Deliveries}, {"dead letters", s.Dead},
				{"owner", dash(s.Owner)},
				{"moved", stamp(s.MovedAt)}} {
				t.add(row[0], row[1])
			}
			if s.Blocked != nil {
				t.add("blocked by", fmt.Sprintf("position %d after %d attempts: %s", s.Blocked.Position,
					s.Blocked.Attempts, clip(s.Blocked.Error, 100)))
			}
			return p.show(c, s, t)
		}),
	}
}

func (p *program) replay() *ucli.Command {
	return &ucli.Command{
		Name: "replay", Usage: "have a subscriber handle events again", ArgsUsage: "NAME --from POSITION",
		Flags: []ucli.Flag{&ucli.Int64Flag{Name: "from", Usage: "the first position to handle again; 0 is the " +
			"earliest that is kept"}},
		Before: func(c *ucli.Context) error {
			if err := needs("NAME")(c); err != nil || c.IsSet("from") {
				return err
			}
			return usagef("replay: from where? give --from POSITION; 0 is the earliest that is kept")
		},
		Action: p.changingName(p.runReplay),
	}
}

func (p *program) runReplay(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
	back, err := backTo(ctx, box, name)
	if err != nil {
		return err
	}
	from := c.Int64("from")
	if err := events.Replay(ctx, box, name, from); err != nil {
		return err
	}
	p.changed++
	doc := rewound{Subscriber: name, From: from, wayBack: back}
	if from == 0 {
		return p.say(c, doc, "subscriber %q handles all events that are kept again%s", name, back)
	}
	return p.say(c, doc, "subscriber %q handles the events from position %d on again%s", name, from, back)
}

// rewound is what a replay or a reset has done, as --json prints it.
type rewound struct {
	Subscriber string `json:"subscriber"`
	From       int64  `json:"from"`
	Reset      bool   `json:"reset,omitempty"`
	wayBack
}

// wayBack is where a subscriber was before it was sent back.
type wayBack struct {
	name string
	// Cursor was its cursor; GoBack is the replay that leads there again, empty where there is none.
	Cursor int64  `json:"former_cursor"`
	GoBack string `json:"go_back,omitempty"`
}

// backTo notes where a subscriber is.
func backTo(ctx context.Context, box *outbox.Box, name string) (wayBack, error) {
	s, err := ops.SubscriberStats(ctx, box, name)
	back := wayBack{name: name, Cursor: s.Cursor}
	if from := min(s.Cursor+1, s.Head); err == nil && from >= s.Earliest {
		back.GoBack = fmt.Sprintf("strunk replay %s --from %d", core.ShellWord(name), from)
	}
	if errors.Is(err, ops.ErrNotFound) {
		return back, nil // whoever sends it back says so
	}
	return back, err
}

func (b wayBack) String() string {
	if b.GoBack == "" {
		return fmt.Sprintf("\nits cursor was %d", b.Cursor)
	}
	return fmt.Sprintf("\nits cursor was %d; to go back: %s", b.Cursor, b.GoBack)
}

func (p *program) resetSubscriber() *ucli.Command {
	return &ucli.Command{
		Name: "reset-subscriber", Usage: "have a subscriber start over as when its name was new", ArgsUsage: "NAME",
		Before: needs("NAME"),
		Action: p.changingName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			back, err := backTo(ctx, box, name)
			if err != nil {
				return err
			}
			if err := events.Reset(ctx, box, name); err != nil {
				return err
			}
			p.changed++
			return p.say(c, rewound{Subscriber: name, Reset: true, wayBack: back}, "subscriber %q starts over%s", name,
				back)
		}),
	}
}

func (p *program) skip() *ucli.Command {
	return &ucli.Command{
		Name: "skip", Usage: "have a subscriber pass the event that blocks it; a copy becomes a dead letter",
		ArgsUsage: "NAME",
		Flags: []ucli.Flag{&ucli.Int64Flag{Name: "position",
			Usage: "of the event; without it the one that blocks now"}, yesFlag()},
		Before: needs("NAME"),
		Action: p.changingName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			s, err := ops.SubscriberStats(ctx, box, name)
			if err != nil {
				return err
			}
			if s.Blocked == nil {
				return fmt.Errorf("subscriber %q is not blocked by any event", name)
			}
			position := s.Blocked.Position
			if asked := c.Int64("position"); c.IsSet("position") && asked != position {
				return fmt.Errorf("the event at position %d does not block subscriber %q; that at %d does", asked,
					name, position)
			}
			if !c.Bool("yes") {
				return usagef("skip would pass the event at position %d (%s): %v", position,
					clip(s.Blocked.Error, 100), errNeedYes)
			}
			if err := events.Skip(ctx, box, name, position); err != nil {
				return err
			}
			p.changed++
			return p.say(c, map[string]any{"subscriber": name, "position": position, "skipped": true},
				"subscriber %q passes the event at position %d", name, position)
		}),
	}
}

func (p *program) parked() *ucli.Command {
	return &ucli.Command{
		Name: "parked", Usage: "list the entities that are parked for a subscriber", ArgsUsage: "NAME",
		Flags:  []ucli.Flag{&ucli.IntFlag{Name: "limit", Value: ops.DefaultLimit, Usage: "how many at the most"}},
		Before: needs("NAME"),
		Action: p.withName(func(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
			return p.listParked(ctx, c, box, name)
		}),
	}
}

func (p *program) listParked(ctx context.Context, c *ucli.Context, box *outbox.Box, name string) error {
	all, err := ops.Parked(ctx, box, ops.ParkedFilter{Subscriber: name, Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	t := &table{header: []string{"ENTITY~", "POSITION#", "VERSION#?", "ATTEMPTS#?", "EVENTS#", "NEXT", "ERROR~"}}
	for _, e := range all {
		next := "another attempt"
		if e.State == ops.DeliveryParked {
			next = "unpark"
		}
		t.add(e.EntityID, e.Position, e.Version, e.Attempts, e.Events, next, clip(e.Error, 80))
	}
	return p.showList(c, all, t, "nothing is parked")
}

func (p *program) unpark() *ucli.Command {
	return &ucli.Command{
		Name: "unpark", Usage: "have a subscriber try parked entities again, or give one up",
		ArgsUsage: "NAME [ENTITY]",
		Flags: []ucli.Flag{&ucli.BoolFlag{Name: "give-up",
			Usage: "make the failing event a dead letter and deliver what is behind it"}, yesFlag()},
		Before: func(c *ucli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usagef("unpark: give a subscriber and, if not all are meant, one entity")
			}
			return nil
		},
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			name, entity := c.Args().Get(0), c.Args().Get(1)
			if _, err := ops.SubscriberStats(ctx, box, name); err != nil {
				return unknownSubscriber(err)
			}
			switch {
			case c.Bool("give-up") && entity == "":
				return usagef("unpark: --give-up needs an entity")
			case c.Bool("give-up") && !c.Bool("yes"):
				return usagef("unpark --give-up would make the failing event of %q a dead letter: %v", entity,
					errNeedYes)
			case c.Bool("give-up"):
				return p.sayUnparked(c, name, 1, events.Release(ctx, box, name, entity))
			case entity != "":
				return p.sayUnparked(c, name, 1, events.RetryParked(ctx, box, name, entity))
			}
			n, err := events.RetryAllParked(ctx, box, name)
			return p.sayUnparked(c, name, int(n), err)
		}),
	}
}

func (p *program) sayUnparked(c *ucli.Context, name string, n int, err error) error {
	if err != nil {
		return err
	}
	p.changed += int64(n)
	return p.say(c, map[string]any{"subscriber": name, "unparked": n}, "unparked %s of subscriber %q", entities(n),
		name)
}

func entities(n int) string {
	if n == 1 {
		return "1 entity"
	}
	return fmt.Sprintf("%d entities", n)
}

// withName is withBox for commands whose one argument is a subscriber.
func (p *program) withName(fn func(ctx context.Context, c *ucli.Context, box *outbox.Box,
	name string) error) ucli.ActionFunc {
	return p.withBox(named(fn))
}

// changingName is withName for a command that changes something.
func (p *program) changingName(fn func(ctx context.Context, c *ucli.Context, box *outbox.Box,
	name string) error) ucli.ActionFunc {
	return p.changing(named(fn))
}

// named calls fn with the subscriber that the arguments name.
func named(fn func(ctx context.Context, c *ucli.Context, box *outbox.Box,
	name string) error) func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	return func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
		name, err := oneArg(c, "NAME")
		if err != nil {
			return err
		}
		return unknownSubscriber(fn(ctx, c, box, name))
	}
}

// unknownSubscriber adds to an error that a subscriber is unknown where the known ones are found.
func unknownSubscriber(err error) error {
	if errors.Is(err, ops.ErrNotFound) || errors.Is(err, events.ErrUnknownSubscriber) {
		return fmt.Errorf("%w; `strunk subscribers` lists those that have run", err)
	}
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
