package ops

// eventsShown is what the view of all subscribers shows.
type eventsShown struct {
	// Head is the newest position of the feed, Waiting counts the events that wait for the relay.
	Head        int64
	Waiting     Count
	Subscribers []subscriberRow
	Forwarders  []Forwarder
	// Next is the name to go on after; empty on the last page.
	Next string
}

// subscriberRow is a subscriber with the word for its state.
type subscriberRow struct {
	Subscriber
	State State
	Class string
}

// subscribersShown is how many subscribers a page of the view has.
const subscribersShown = 50

func eventsView(c *call) (any, error) {
	var v eventsShown
	var subscribers []Subscriber
	after := c.query.Get("after")
	if err := texts(after); err != nil {
		return nil, err
	}
	var overall Overall
	err := ask(c.ctx, c.box, overallQuestion(&overall),
		subscribersQuestion(&subscribers, after, subscribersShown, ListCountCap),
		forwardersQuestion(&v.Forwarders, "", DefaultLimit, ListCountCap))
	v.Head, v.Waiting = overall.Head, overall.EventsWaiting
	for _, s := range subscribers {
		v.Subscribers = append(v.Subscribers, s.row(c.s.cfg.Thresholds))
	}
	if n := len(subscribers); n == subscribersShown {
		v.Next = subscribers[n-1].Name
	}
	return v, wrap("page", err)
}

// row is a subscriber with its state.
func (s Subscriber) row(t Thresholds) subscriberRow {
	state := s.State(t)
	return subscriberRow{Subscriber: s, State: state, Class: state.class()}
}

// Behind is how many positions the cursor is behind the head, of events of any type.
func (r subscriberRow) Behind() int64 { return max(0, r.Head-r.Cursor) }

// barWidth is how many units the bar of positions is wide.
const barWidth = 1000

// Passed is how much of the bar from the earliest to the last position is behind the cursor.
func (r subscriberRow) Passed() int64 {
	kept := r.Head - r.Earliest + 1
	if kept <= 0 {
		return barWidth
	}
	return min(barWidth, max(0, int64(float64(r.Cursor-r.Earliest+1)/float64(kept)*barWidth)))
}
