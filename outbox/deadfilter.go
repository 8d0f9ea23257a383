package outbox

import "time"

// DeadFilter chooses dead letters: tasks of a queue, or deliveries to a subscriber. The zero value
// chooses all. Packages queue and ops and the command line share it.
type DeadFilter struct {
	// Queue is the queue's name; empty means any. It excludes Subscriber.
	Queue string
	// Subscriber is the subscriber's name; empty means any. Package queue, which knows tasks only, refuses it.
	Subscriber string
	// IDs are the ids of the rows; nil means any.
	IDs []int64
	// Error is a text that the last error must contain; empty means any.
	Error string
	// OlderThan and YoungerThan bound how long ago the row died; zero means any.
	OlderThan, YoungerThan time.Duration
	// After leaves out ids up to this one, or with Newest from this one on: to page on. Zero means the beginning.
	After int64
	// Newest lists from the highest id down. Changes are made in the order of the ids, and refuse it.
	Newest bool
	// Limit bounds how many are listed, retried or purged. Zero means the default of the function.
	Limit int
}
