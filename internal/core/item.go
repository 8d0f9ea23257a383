package core

// StoredItem is a task as package queue would store it, for packages that enqueue it later from SQL.
type StoredItem struct {
	Queue    string
	Payload  string
	Metadata *string
	DedupKey *string
	// TimeoutMS is nil where the worker's timeout holds.
	TimeoutMS   *int32
	Priority    int16
	MaxAttempts int16
	// Timed says that the item has a due time of its own.
	Timed bool
}
