package ops

import "fmt"

// LimitsList is a page of the queues that have limits.
type LimitsList struct {
	Limits []Limits `json:"limits"`
	Next   string   `json:"next,omitempty"`
}

func limitReadings() []operation {
	return []operation{
		reading("list_limits", "/v1/limits", "Limits of the queues that have any, by queue", listLimits, after, upTo),
		reading("get_limits", "/v1/queues/{queue}/limits", "The limits of one queue", getLimits),
	}
}

func limitChanges() []operation {
	return []operation{
		changing("set_limits", "/v1/queues/{queue}/set-limits",
			"Set all limits of the queue: what the body does not say is not limited", setLimits),
		changing("delete_limits", "/v1/queues/{queue}/delete-limits", "Take all limits of the queue away",
			deleteLimits),
	}
}

func listLimits(c *call) (list LimitsList, err error) {
	page, err := c.page()
	if err == nil {
		list.Limits, err = ListLimits(c.ctx, c.box, page)
	}
	if n := len(list.Limits); n > 0 && n == page.Limit {
		list.Next = list.Limits[n-1].Queue
	}
	return list, err
}

func getLimits(c *call) (l Limits, err error) {
	name, err := c.name("queue")
	if err != nil {
		return l, err
	}
	return QueueLimits(c.ctx, c.box, name)
}

// setLimits refuses a body that limits nothing: it is more likely a mistake than meant.
func setLimits(c *call, b LimitValues) (l Limits, err error) {
	name, err := c.name("queue")
	switch {
	case err != nil:
		return l, err
	case b.None():
		return l, fmt.Errorf("the body limits nothing; delete-limits takes all limits away: %w", ErrInvalid)
	}
	if err := SetLimits(c.ctx, c.box, name, b); err != nil {
		return l, err
	}
	return QueueLimits(c.ctx, c.box, name)
}

func deleteLimits(c *call, _ none) (done Done, err error) {
	l, err := getLimits(c)
	if err != nil || l.None() {
		return done, err
	}
	return Done{Changed: 1}, SetLimits(c.ctx, c.box, l.Queue, LimitValues{})
}
