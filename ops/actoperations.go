package ops

import "time"

// Bodies of the operations that act on tasks; each names at most MaxChange tasks.
type (
	// RescheduleBody is the body of reschedule_tasks.
	RescheduleBody struct {
		IDs   []int64   `json:"ids"`
		DueAt time.Time `json:"due_at"`
	}
	// PriorityBody is the body of set_priority.
	PriorityBody struct {
		IDs      []int64 `json:"ids"`
		Priority int     `json:"priority"`
	}
	// DiscardBody is the body of discard_tasks.
	DiscardBody struct {
		IDs    []int64 `json:"ids"`
		Reason string  `json:"reason,omitempty"`
	}
)

// acts are the operations that act on tasks by their ids, of any queue.
func acts() []operation {
	return []operation{
		changing("run_tasks_now", "/v1/tasks/run-now", "Make tasks that wait due now",
			func(c *call, b IDsBody) (Acted, error) { return RunNow(c.ctx, c.box, b.IDs...) }),
		changing("reschedule_tasks", "/v1/tasks/reschedule", "Make tasks that wait due at another time",
			func(c *call, b RescheduleBody) (Acted, error) { return Reschedule(c.ctx, c.box, b.DueAt, b.IDs...) }),
		changing("set_priority", "/v1/tasks/priority", "Give tasks that wait another priority, 0 to 9",
			func(c *call, b PriorityBody) (Acted, error) { return SetPriority(c.ctx, c.box, b.Priority, b.IDs...) }),
		changing("discard_tasks", "/v1/tasks/discard", "Give up tasks that wait; they can be retried",
			func(c *call, b DiscardBody) (Acted, error) { return Discard(c.ctx, c.box, b.Reason, b.IDs...) }),
		changing("delete_tasks", "/v1/tasks/delete", "Delete tasks that wait or have ended without success, for good",
			func(c *call, b IDsBody) (Acted, error) { return DeleteTasks(c.ctx, c.box, b.IDs...) }),
	}
}
