package ops

import "fmt"

// LimitsList is a page of the queues that have limits.
type LimitsList struct {
	Limits []Limits `json:"limits"`
	Next   string   `json:"next,omitempty"`
}

// The answer and the bodies of the operations on what is different for customer keys.
type (
	// KeyLimitsList is a page of customer keys of a queue for which something is different.
	KeyLimitsList struct {
		KeyLimits []KeyLimits `json:"key_limits"`
		Next      string      `json:"next,omitempty"`
	}
	// KeyLimitsBody is the body of set_key_limits: see KeyLimits.
	KeyLimitsBody struct {
		CustomerKey string `json:"customer_key"`
		Weight      int    `json:"weight,omitempty"`
		Running     int    `json:"running,omitempty"`
		Rate        *Rate  `json:"rate,omitempty"`
	}
	// KeyBody is the body of delete_key_limits.
	KeyBody struct {
		CustomerKey string `json:"customer_key"`
	}
)

func limitReadings() []operation {
	return []operation{
		reading("list_limits", "/v1/limits", "Limits of the queues that have any, by queue", listLimits, after, upTo),
		reading("get_limits", "/v1/queues/{queue}/limits", "The limits of one queue", getLimits),
		reading("list_key_limits", "/v1/queues/{queue}/key-limits",
			"What is different for customer keys of the queue, by key", listKeyLimits,
			parameter{"after", "string", "the last customer key of the page before"}, upTo),
	}
}

func limitChanges() []operation {
	return []operation{
		changing("set_limits", "/v1/queues/{queue}/set-limits",
			"Set all limits of the queue: what the body does not say is not limited", setLimits),
		changing("delete_limits", "/v1/queues/{queue}/delete-limits", "Take all limits of the queue away",
			deleteLimits),
		changing("set_key_limits", "/v1/queues/{queue}/set-key-limits",
			"Set what is different for one customer key of the queue: what the body does not say is as for all keys",
			setKeyLimits),
		changing("delete_key_limits", "/v1/queues/{queue}/delete-key-limits",
			"Make a customer key of the queue one as all others", deleteKeyLimits),
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

func listKeyLimits(c *call) (list KeyLimitsList, err error) {
	name, err := c.name("queue")
	if err != nil {
		return list, err
	}
	page, err := c.page()
	if err == nil {
		list.KeyLimits, err = ListKeyLimits(c.ctx, c.box, name, page)
	}
	if n := len(list.KeyLimits); n > 0 && n == page.Limit {
		list.Next = list.KeyLimits[n-1].CustomerKey
	}
	return list, err
}

func setKeyLimits(c *call, b KeyLimitsBody) (l KeyLimits, err error) {
	name, err := c.name("queue")
	if err != nil {
		return l, err
	}
	l = KeyLimits{Queue: name, CustomerKey: b.CustomerKey, Weight: b.Weight, Running: b.Running, Rate: b.Rate}
	return l, SetKeyLimits(c.ctx, c.box, l)
}

func deleteKeyLimits(c *call, b KeyBody) (done Done, err error) {
	name, err := c.name("queue")
	if err != nil {
		return done, err
	}
	deleted, err := DeleteKeyLimits(c.ctx, c.box, name, b.CustomerKey)
	if deleted {
		done.Changed = 1
	}
	return done, err
}
