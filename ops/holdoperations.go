package ops

import "time"

// The answer and the bodies of the operations on holds.
type (
	// HoldList is a page of holds.
	HoldList struct {
		Holds []Hold `json:"holds"`
		// NextQueue and NextKey are what to give as after_queue and after_key for the next page; they are
		// missing on the last.
		NextQueue string `json:"next_queue,omitempty"`
		NextKey   string `json:"next_key,omitempty"`
	}
	// HoldBody is the body of hold_queue.
	HoldBody struct {
		// CustomerKey is missing for the whole queue.
		CustomerKey string `json:"customer_key,omitempty"`
		// For is how many seconds the hold lasts.
		For    Duration `json:"for_seconds"`
		Reason string   `json:"reason,omitempty"`
	}
	// LiftBody is the body of lift_hold.
	LiftBody struct {
		// CustomerKey is missing for the whole queue.
		CustomerKey string `json:"customer_key,omitempty"`
	}
)

func listHolds(c *call) (list HoldList, err error) {
	f := HoldFilter{Queue: c.query.Get("queue"), AfterQueue: c.query.Get("after_queue"),
		AfterKey: c.query.Get("after_key")}
	if f.Limit, err = c.limit(); err == nil {
		list.Holds, err = Holds(c.ctx, c.box, f)
	}
	if n := len(list.Holds); n > 0 && n == f.Limit {
		list.NextQueue, list.NextKey = list.Holds[n-1].Queue, list.Holds[n-1].CustomerKey
	}
	return list, err
}

func holdQueue(c *call, b HoldBody) (Done, error) {
	name, err := c.name("queue")
	if err != nil {
		return Done{}, err
	}
	until, err := SetHold(c.ctx, c.box, NewHold{Queue: name, CustomerKey: b.CustomerKey, For: b.For.Duration,
		Reason: b.Reason})
	return Done{Changed: 1, State: "until " + until.UTC().Format(time.RFC3339)}, err
}

func liftHold(c *call, b LiftBody) (done Done, err error) {
	name, err := c.name("queue")
	if err != nil {
		return done, err
	}
	lifted, err := LiftHold(c.ctx, c.box, name, b.CustomerKey)
	if lifted {
		done.Changed = 1
	}
	return done, err
}
