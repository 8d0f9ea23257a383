package ops

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/strunk-go/strunk/outbox"
)

// subscriberShown is what the view of one subscriber shows.
type subscriberShown struct {
	subscriberRow
	Parked []ParkedEntity
	// NextType and NextID go on with the parked entities; empty on the last page.
	NextType, NextID string
	DeadLetters      []DeadLetter
	// OlderDead is the id before which there may be more dead letters; zero where there are none.
	OlderDead int64
}

// FailedTimes says how often the event that blocks it has failed.
func (v subscriberShown) FailedTimes() string {
	if v.Blocked == nil {
		return ""
	}
	return plural(int64(v.Blocked.Attempts), "time")
}

const (
	// parkedShown is how many parked entities a page has, deadShown how many dead letters.
	parkedShown = 50
	deadShown   = 50
)

func subscriberView(c *call) (any, error) {
	name := c.query.Get("name")
	s, err := SubscriberStats(c.ctx, c.box, name)
	if err != nil {
		return nil, err
	}
	v := subscriberShown{subscriberRow: s.row(c.s.cfg.Thresholds)}
	v.Parked, err = Parked(c.ctx, c.box, ParkedFilter{Subscriber: name, AfterType: c.query.Get("after_type"),
		AfterID: c.query.Get("after_id"), Limit: parkedShown})
	if err != nil {
		return nil, err
	}
	if n := len(v.Parked); n == parkedShown {
		v.NextType, v.NextID = v.Parked[n-1].EntityType, v.Parked[n-1].EntityID
	}
	f := outbox.DeadFilter{Subscriber: name, Newest: true, Limit: deadShown}
	if f.After, err = parseID(c.query.Get("dead_before")); err != nil {
		return nil, err
	}
	v.DeadLetters, err = DeadLetters(c.ctx, c.box, f)
	if n := len(v.DeadLetters); n == deadShown {
		v.OlderDead = v.DeadLetters[n-1].ID
	}
	return v, err
}

// subscriberActions are what can be done to subscribers.
func subscriberActions() []action {
	name := hidden(fieldText, "subscriber")
	with := func(more ...field) []field { return slices.Concat(name, more) }
	return []action{
		{op: "pause_subscriber", title: "Pause the subscriber", fields: name,
			says: saysSubscriber("No more events are delivered to it, in whatever process it runs; handlers that " +
				"run finish.")},
		{op: "resume_subscriber", title: "Resume the subscriber", fields: name,
			says: saysSubscriber("Events are delivered to it again.")},
		{op: "replay_subscriber", title: "Replay", fields: with(hidden(fieldNumber, "from")...), says: saysReplay,
			danger: true, cli: func(f url.Values) []string {
				return []string{"replay", f.Get("subscriber"), "--from", f.Get("from")}
			}},
		{op: "reset_subscriber", title: "Reset the subscriber", fields: name, says: saysReset, danger: true,
			cli: func(f url.Values) []string { return []string{"reset-subscriber", f.Get("subscriber")} }},
		{op: "skip_event", title: "Skip the event", fields: with(hidden(fieldNumber, "position")...), says: saysSkip,
			danger: true, cli: func(f url.Values) []string {
				return []string{"skip", f.Get("subscriber"), "--position", f.Get("position"), "--yes"}
			}},
		{op: "retry_dead_events", title: "Retry dead letters", fields: with(hidden(fieldIDs, "ids")...),
			says: saysTasks("They are delivered to the subscriber again, which may have seen newer versions since.")},
		{op: "retry_parked", title: "Retry the entity", fields: with(hidden(fieldText, "entity_id")...),
			says: saysEntity("The first of its events is tried again now; those behind it follow."),
			cli:  func(f url.Values) []string { return []string{"unpark", f.Get("subscriber"), f.Get("entity_id")} }},
		{op: "retry_all_parked", title: "Retry all parked entities", fields: name, says: saysAllParked,
			cli: func(f url.Values) []string { return []string{"unpark", f.Get("subscriber")} }},
		{op: "release_parked", title: "Give up on the event", fields: with(hidden(fieldText, "entity_id")...),
			says:   saysEntity("The event that fails becomes a dead letter; those behind it are delivered."),
			danger: true, cli: func(f url.Values) []string {
				return []string{"unpark", f.Get("subscriber"), f.Get("entity_id"), "--give-up", "--yes"}
			}},
	}
}

// saysSubscriber tells what will happen to a subscriber, and how far behind it is.
func saysSubscriber(text string) func(*call, url.Values) (said, error) {
	return func(c *call, form url.Values) (said, error) {
		s, err := SubscriberStats(c.ctx, c.box, form.Get("subscriber"))
		return said{Text: fmt.Sprintf("%s: %s %s of its events wait.", s.Name, text, s.Waiting)}, err
	}
}

func saysEntity(text string) func(*call, url.Values) (said, error) {
	return func(c *call, form url.Values) (said, error) {
		s, err := SubscriberStats(c.ctx, c.box, form.Get("subscriber"))
		if err == nil && form.Get("entity_id") == "" {
			err = fmt.Errorf("no entity was given: %w", ErrInvalid)
		}
		return said{Text: fmt.Sprintf("%s, entity %s: %s", s.Name, form.Get("entity_id"), text)}, err
	}
}

func saysAllParked(c *call, form url.Values) (said, error) {
	s, err := SubscriberStats(c.ctx, c.box, form.Get("subscriber"))
	return said{Text: fmt.Sprintf("All entities that are parked for %s are tried again now. So many of its deliveries "+
		"fail, or wait behind one that does:", s.Name), Count: &s.Deliveries}, err
}

func saysReplay(c *call, form url.Values) (said, error) {
	from, err := parseID(form.Get("from"))
	if err != nil {
		return said{}, err
	}
	p, err := PreviewReplay(c.ctx, c.box, form.Get("subscriber"), from)
	switch {
	case err != nil:
		return said{}, err
	case from > p.Head:
		return said{}, fmt.Errorf("from: position %d is after the last one, %d: %w", from, p.Head, ErrInvalid)
	case from != 0 && from < p.Earliest:
		return said{}, fmt.Errorf("from: position %d is no longer kept; the earliest is %d: %w", from, p.Earliest,
			ErrInvalid)
	}
	return said{Text: fmt.Sprintf("%s goes back from position %d to %d and handles again what it had passed. %s of "+
		"its deliveries are dropped, since they come again. The events that it has passed, and that come again:",
		p.Subscriber, p.Cursor, p.From, p.Deliveries), Count: &p.Again}, nil
}

func saysReset(c *call, form url.Values) (said, error) {
	s, err := SubscriberStats(c.ctx, c.box, form.Get("subscriber"))
	if err != nil {
		return said{}, err
	}
	p, err := PreviewReplay(c.ctx, c.box, s.Name, 0)
	where := fmt.Sprintf("at the earliest event that is kept, position %d", s.Earliest)
	if s.Start == "snapshots" {
		where = "with the snapshots"
	}
	return said{Text: fmt.Sprintf("%s starts over %s. All its deliveries are dropped, since they come again. Its "+
		"cursor is at %d: keep that number if you may want to go on from there. The events that it has passed, and "+
		"that are kept:", s.Name, where, s.Cursor), Count: &p.Again}, err
}

func saysSkip(c *call, form url.Values) (said, error) {
	s, err := SubscriberStats(c.ctx, c.box, form.Get("subscriber"))
	if err != nil {
		return said{}, err
	}
	if position := form.Get("position"); s.Blocked == nil || fmt.Sprint(s.Blocked.Position) != position {
		return said{}, fmt.Errorf("the event at position %s does not block %s any more: %w", position, s.Name,
			ErrInvalid)
	}
	return said{Text: fmt.Sprintf("%s passes the event at position %d, which has failed %s: %s. A copy of it "+
		"becomes a dead letter.", s.Name, s.Blocked.Position,
		plural(int64(s.Blocked.Attempts), "time"), clip(s.Blocked.Error))}, nil
}
