package outbox

import (
	"fmt"
	"math"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Defaults of Retention.
const (
	DefaultTaskRetention       = 24 * time.Hour
	DefaultDeadLetterRetention = 30 * 24 * time.Hour
	DefaultInboxRetention      = 7 * 24 * time.Hour
	DefaultScheduleRetention   = 30 * 24 * time.Hour
	DefaultReapInterval        = 10 * time.Minute
)

// KeepForever is a retention that never ends.
const KeepForever time.Duration = math.MaxInt64

// Retention says how long the reaper keeps what is done. Zero means the default that each field
// names; KeepForever keeps. All processes that run the reaper on one schema should agree: where
// they differ, the shortest decides.
type Retention struct {
	// Tasks is how long delivered tasks are kept at least, DefaultTaskRetention. They go by whole days (UTC), so a task
	// may stay a day longer. What is kept for less than a day is deleted row by row, at the next run of the reaper,
	// which reads the whole of today's partition for it: fit for queues whose tasks are few or small.
	Tasks time.Duration
	// DeadLetters is how long dead letters are kept: DefaultDeadLetterRetention.
	DeadLetters time.Duration
	// Inbox is how long a consumer remembers messages that were marked by hand:
	// DefaultInboxRetention. Marks that workers make are kept for as long as their task can be
	// handled again; results of tasks go with Tasks.
	Inbox time.Duration
	// ScheduleRuns is how long the due times of schedules are kept on record: DefaultScheduleRetention.
	ScheduleRuns time.Duration
	// Queues holds what differs for single queues.
	Queues map[string]QueueRetention
	// Every is how often the reaper runs, over all processes: DefaultReapInterval.
	Every time.Duration
}

// QueueRetention is the retention of one queue's tasks. Zero means that of Retention.
type QueueRetention struct {
	Tasks       time.Duration
	DeadLetters time.Duration
}

func (r Retention) withDefaults() Retention {
	for _, field := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{
		{&r.Tasks, DefaultTaskRetention}, {&r.DeadLetters, DefaultDeadLetterRetention},
		{&r.Inbox, DefaultInboxRetention},
		{&r.ScheduleRuns, DefaultScheduleRetention}, {&r.Every, DefaultReapInterval},
	} {
		if *field.value == 0 {
			*field.value = field.otherwise
		}
	}
	queues := make(map[string]QueueRetention, len(r.Queues))
	for name, q := range r.Queues {
		if q.Tasks == 0 {
			q.Tasks = r.Tasks
		}
		if q.DeadLetters == 0 {
			q.DeadLetters = r.DeadLetters
		}
		queues[name] = q
	}
	r.Queues = queues
	return r
}

func (r Retention) validate() error {
	for name, d := range map[string]time.Duration{
		"Tasks": r.Tasks, "DeadLetters": r.DeadLetters, "Inbox": r.Inbox, "ScheduleRuns": r.ScheduleRuns,
		"Every": r.Every,
	} {
		if d < 0 {
			return fmt.Errorf("strunk/outbox: Config.Retention.%s: %v is negative", name, d)
		}
	}
	for name, q := range r.Queues {
		if err := core.CheckName(name); err != nil {
			return fmt.Errorf("strunk/outbox: Config.Retention.Queues: a name %w", err)
		}
		if q.Tasks < 0 || q.DeadLetters < 0 {
			return fmt.Errorf("strunk/outbox: Config.Retention.Queues[%q]: %v and %v must not be negative", name,
				q.Tasks, q.DeadLetters)
		}
	}
	return nil
}

// maxTaskRetention is how long a partition of delivered tasks must be kept: for the queue that keeps its tasks longest.
func (r Retention) maxTaskRetention() time.Duration {
	longest := r.Tasks
	for _, q := range r.Queues {
		longest = max(longest, q.Tasks)
	}
	return longest
}

// kept is one part of the tasks with a retention: a queue's, or (name empty) all but those named in except.
type kept struct {
	queue  string
	except []string
	keep   time.Duration
}

// arg is the queue as a parameter: NULL for the rest.
func (k kept) arg() *string {
	if k.queue == "" {
		return nil
	}
	return &k.queue
}

// parts divides the tasks by retention: the queues whose own differs from the general one, and the rest.
func (r Retention) parts(general time.Duration, of func(QueueRetention) time.Duration) []kept {
	rest := kept{except: []string{}, keep: general}
	var all []kept
	for name, q := range r.Queues {
		if keep := of(q); keep != general {
			all = append(all, kept{queue: name, keep: keep})
			rest.except = append(rest.except, name)
		}
	}
	return append(all, rest)
}
