// Package schedule enqueues recurring tasks: a schedule, stored in the database under an id, names
// a queue, a payload and when it is due, and each due time becomes exactly one task, however many
// processes run.
//
//	_, err := schedule.Register(ctx, box, "daily-report", Reports, Report{Kind: "daily"}, "every 1d")
//	err = box.Run(ctx, schedule.Runner(), Reports.Worker(makeReport))
//
// All functions are safe for use by several goroutines and processes. Due times are the database's, to the microsecond.
package schedule

import (
	"context"
	"encoding/json"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Entry is a schedule as it is stored.
type Entry struct {
	ID       string
	Queue    string
	Spec     string
	TimeZone string
	Misfire  Misfire
	Payload  json.RawMessage
	// Enabled is false after Disable, and when no further time is left.
	Enabled bool
	// NextDue is when the next task is due, if the schedule is enabled.
	NextDue time.Time
	// LastDue is the due time of the last task, and LastTaskID that task's id; zero before the first.
	LastDue    time.Time
	LastTaskID int64
	// LastError is why the schedule could not be fired when it was last due, or empty.
	LastError string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Queue is what Register takes tasks for: a *[queue.Queue], or a *[queue.ResultQueue].
type Queue[T any] interface {
	Item(payload T, opts ...queue.EnqueueOption) queue.Item
}

// Register stores a schedule under an id of at most 200 bytes, or changes the one that is there:
// call it at each start of the program. spec is described at [Parse]. The first task of an interval
// is due one interval after the registration. Each further due time follows from the one before,
// not from when the task was enqueued.
//
// Registering again changes what differs. The due time stays unless the spec or its time zone has
// changed, and a disabled schedule stays disabled. Two programs that register different things
// under one id overwrite each other.
//
// A task's DueAt is its due time, and its metadata has it as "scheduled_for" beside the "schedule"'s id.
//
// Errors: [ErrInvalid], [*SpecError], [queue.ErrInvalid]; the database's own are wrapped.
func Register[T any](ctx context.Context, box *outbox.Box, id string, q Queue[T], payload T, spec string,
	opts ...RegisterOption) (Entry, error) {
	o := newRegisterOptions(opts)
	if q == nil {
		q = (*queue.Queue[T])(nil) // whose items say that it is nil
	}
	return register(ctx, box, id, q.Item(payload, o.task...), spec, o)
}

// List returns all schedules in the order of their ids.
func List(ctx context.Context, box *outbox.Box) ([]Entry, error) { return list(ctx, box) }

// Get returns one schedule. Errors: [ErrNotFound].
func Get(ctx context.Context, box *outbox.Box, id string, opts ...Option) (Entry, error) {
	return get(ctx, box, id, opts)
}

// Enable lets a disabled schedule go on, with the next due time from now: what was due in between is gone. One that is
// enabled is left as it is. Errors: [ErrNotFound].
func Enable(ctx context.Context, box *outbox.Box, id string, opts ...Option) error {
	return enable(ctx, box, id, opts)
}

// Disable stops a schedule until Enable; tasks that it has enqueued are not touched. When it returns, outside a
// transaction of the caller's, nothing more is enqueued. Errors: [ErrNotFound].
func Disable(ctx context.Context, box *outbox.Box, id string, opts ...Option) error {
	return disable(ctx, box, id, opts)
}

// RunNow enqueues a schedule's task at once, beside its due times, and returns the task's id. A
// disabled schedule's too. Errors: [ErrNotFound].
func RunNow(ctx context.Context, box *outbox.Box, id string, opts ...Option) (taskID int64, err error) {
	return runNow(ctx, box, id, opts)
}

// Remove deletes a schedule; tasks that it has enqueued are not touched. Errors: [ErrNotFound].
func Remove(ctx context.Context, box *outbox.Box, id string, opts ...Option) error {
	return remove(ctx, box, id, opts)
}

// Runner makes the loop that enqueues what is due: hand it to outbox.Box.Run, in as many processes
// as you like. It sleeps until the next due time and is woken when a schedule changes.
func Runner() outbox.Binding {
	return core.NewBound(func() core.Binding { return &runner{} })
}
