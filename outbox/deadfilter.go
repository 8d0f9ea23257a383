package outbox

import (
	"fmt"
	"time"
)

// The statuses that DeadFilter.Status chooses from.
const (
	// EndedDead chooses dead letters.
	EndedDead = "dead"
	// EndedCancelled chooses tasks that were cancelled.
	EndedCancelled = "cancelled"
	// EndedDiscarded chooses tasks that their handlers gave up.
	EndedDiscarded = "discarded"
)

// DeadFilter chooses dead letters: tasks of a queue, or deliveries to a subscriber. The zero value
// chooses all. With a Status it chooses cancelled or discarded tasks instead. Packages queue and ops
// and the command line share it.
type DeadFilter struct {
	// Queue is the queue's name; empty means any. It excludes Subscriber.
	Queue string
	// Subscriber is the subscriber's name; empty means any. Package queue, which knows tasks only, refuses it.
	Subscriber string
	// Status is one of EndedDead, EndedCancelled and EndedDiscarded; empty means EndedDead.
	Status string
	// IDs are the ids of the rows; nil means any.
	IDs []int64
	// Error is a text that the last error must contain; empty means any.
	Error string
	// OlderThan and YoungerThan bound how long ago the row ended; zero means any.
	OlderThan, YoungerThan time.Duration
	// After leaves out ids up to this one, or with Newest from this one on: to page on. Zero means the beginning.
	After int64
	// Newest lists from the highest id down. Changes are made in the order of the ids, and refuse it.
	Newest bool
	// Limit bounds how many are listed, retried or purged. Zero means the default of the function.
	Limit int
}

// EndedStatus returns Status, or EndedDead where it is empty, and an error where it is none of the three.
func (f DeadFilter) EndedStatus() (string, error) {
	switch f.Status {
	case "", EndedDead:
		return EndedDead, nil
	case EndedCancelled, EndedDiscarded:
		return f.Status, nil
	}
	return "", fmt.Errorf("DeadFilter: Status: %q is not %s, %s or %s", f.Status, EndedDead, EndedCancelled,
		EndedDiscarded)
}
