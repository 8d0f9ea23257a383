package ops

import "github.com/strunk-go/strunk/events"

// ParkedList is a page of a subscriber's parked entities.
type ParkedList struct {
	Parked []ParkedEntity `json:"parked"`
	// NextType and NextID are what to give as after_type and after_id for the next page; they are missing on the last.
	NextType string `json:"next_type,omitempty"`
	NextID   string `json:"next_id,omitempty"`
}

func parkedReadings() []operation {
	return []operation{
		reading("list_parked", "/v1/subscribers/{subscriber}/parked",
			"Entities that are parked for the subscriber, or between two attempts, without payloads", listParked,
			parameter{"after_type", "string", "the type of the last entity of the page before"},
			parameter{"after_id", "string", "the id of the last entity of the page before"}, upTo),
	}
}

func parkedChanges() []operation {
	return []operation{
		onSubscriber("retry_parked", "retry-parked", "Try a parked entity again",
			func(c *call, name string, b EntityBody) (int64, error) {
				return 1, events.RetryParked(c.ctx, c.box, name, b.EntityID)
			}),
		onSubscriber("retry_all_parked", "retry-all-parked", "Try all parked entities of the subscriber again",
			func(c *call, name string, _ none) (int64, error) {
				if _, err := SubscriberStats(c.ctx, c.box, name); err != nil {
					return 0, err
				}
				return events.RetryAllParked(c.ctx, c.box, name)
			}),
		onSubscriber("release_parked", "release-parked", "Give up on the event that an entity is parked for",
			func(c *call, name string, b EntityBody) (int64, error) {
				return 1, events.Release(c.ctx, c.box, name, b.EntityID)
			}),
	}
}

func listParked(c *call) (list ParkedList, err error) {
	f := ParkedFilter{AfterType: c.query.Get("after_type"), AfterID: c.query.Get("after_id")}
	if f.Subscriber, err = c.name("subscriber"); err != nil {
		return list, err
	}
	if f.Limit, err = c.limit(); err == nil {
		list.Parked, err = Parked(c.ctx, c.box, f)
	}
	if n := len(list.Parked); n > 0 && n == f.Limit {
		list.NextType, list.NextID = list.Parked[n-1].EntityType, list.Parked[n-1].EntityID
	}
	return list, err
}
