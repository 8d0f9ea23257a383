package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// The answers of lists. Next is what to give as the parameter after (dead letters: from) for the
// next page; it is missing on the last.
type (
	// QueueList is a page of queues.
	QueueList struct {
		Queues []Queue `json:"queues"`
		Next   string  `json:"next,omitempty"`
	}
	// SubscriberList is a page of subscribers.
	SubscriberList struct {
		Subscribers []Subscriber `json:"subscribers"`
		Next        string       `json:"next,omitempty"`
	}
	// WorkerList is a page of workers.
	WorkerList struct {
		Workers []Worker `json:"workers"`
		Next    string   `json:"next,omitempty"`
	}
	// ScheduleList is a page of schedules.
	ScheduleList struct {
		Schedules []Schedule `json:"schedules"`
		Next      string     `json:"next,omitempty"`
	}
	// DeadLetterList is a page of dead letters.
	DeadLetterList struct {
		DeadLetters []DeadLetter `json:"dead_letters"`
		Next        string       `json:"next,omitempty"`
	}
	// ErrorList is why attempts fail.
	ErrorList struct {
		Errors []ErrorGroup `json:"errors"`
	}
	// Reasons is why a task does not run; none where a worker is about to take it.
	Reasons struct {
		Reasons []queue.Reason `json:"reasons"`
	}
)

// Done is the answer to a change.
type Done struct {
	// Changed is how many tasks or events were changed, where that is a number.
	Changed int64 `json:"changed"`
	// State says what became of the task, the id of the new one, or where the cursor of a subscriber was.
	State string `json:"state,omitempty"`
}

// DeadSelection chooses the dead letters of tasks that are retried or purged: of a queue, by ids, or All.
type DeadSelection struct {
	Queue string  `json:"queue,omitempty"`
	IDs   []int64 `json:"ids,omitempty"`
	// Status is dead (the default), cancelled or discarded.
	Status string `json:"status,omitempty"`
	All    bool   `json:"all,omitempty"`
	// Error is a text that the last error must contain.
	Error string `json:"error,omitempty"`
	// OlderThan is how many seconds ago the task died at least.
	OlderThan Duration `json:"older_than_seconds,omitzero"`
	// Limit bounds how many; at most MaxChange, which zero means. Changed less than that: none is left.
	Limit int `json:"limit,omitempty"`
}

// MaxChange is how many dead letters one request changes at most.
const MaxChange = 1_000

// Bodies of the other changes.
type (
	// CancelBody is the body of cancel_task.
	CancelBody struct {
		Reason string `json:"reason,omitempty"`
	}
	// ReplayBody is the body of replay_subscriber.
	ReplayBody struct {
		// From is the first position that is handled again; 0 is the earliest that is kept.
		From int64 `json:"from"`
	}
	// SkipBody is the body of skip_event.
	SkipBody struct {
		Position int64 `json:"position"`
	}
	// EntityBody is the body of changes to a parked entity.
	EntityBody struct {
		EntityID string `json:"entity_id"`
	}
	// IDsBody is the body of retry_dead_events, run_tasks_now and delete_tasks.
	IDsBody struct {
		IDs []int64 `json:"ids"`
	}
)

var (
	after = parameter{"after", "string", "the last name or id of the page before"}
	upTo  = parameter{"limit", "integer", fmt.Sprintf("how many, 1 to %d", MaxLimit)}
)

// operations are the HTTP API, beside the streams and the pages.
func (s *server) operations() []operation {
	return slices.Concat(s.readings(), limitReadings(), parkedReadings(), schemaReadings(), auditReadings(), pauses(),
		s.changes(), acts(), limitChanges(), parkedChanges(), jobOperations())
}

func (s *server) readings() []operation {
	return []operation{
		reading("health", "/v1/health", "What is behind, and what to do",
			func(c *call) (Report, error) { return Health(c.ctx, c.box, s.cfg.Thresholds) }),
		reading("stats", "/v1/stats", "The whole installation, with the sizes of its tables",
			func(c *call) (Overall, error) { return OverallStats(c.ctx, c.box) }),
		reading("list_queues", "/v1/queues", "Queues by name", listQueues, after, upTo),
		reading("get_queue", "/v1/queues/{queue}", "One queue", func(c *call) (Queue, error) {
			name, err := c.name("queue")
			if err != nil {
				return Queue{}, err
			}
			return QueueStats(c.ctx, c.box, name)
		}),
		reading("list_subscribers", "/v1/subscribers", "Subscribers by name", listSubscribers, after, upTo),
		reading("get_subscriber", "/v1/subscribers/{subscriber}", "One subscriber", func(c *call) (Subscriber, error) {
			name, err := c.name("subscriber")
			if err != nil {
				return Subscriber{}, err
			}
			return SubscriberStats(c.ctx, c.box, name)
		}),
		reading("list_workers", "/v1/workers", "Worker processes by id", listWorkers,
			parameter{"queue", "string", "of this queue"}, after, upTo),
		reading("list_holds", "/v1/holds", "Holds of queues and of customer keys, by queue and key", listHolds,
			parameter{"queue", "string", "of this queue"},
			parameter{"after_queue", "string", "the queue of the last hold of the page before"},
			parameter{"after_key", "string", "the customer key of the last hold of the page before"}, upTo),
		reading("list_batches", "/v1/batches", "Batches and how far they have come, the newest first", listBatches,
			parameter{"unfinished", "boolean", "only those that are not finished"},
			parameter{"before", "integer", "the id of the last batch of the page before"}, upTo),
		reading("get_batch", "/v1/batches/{id}", "How far one batch has come", getBatch),
		reading("list_schedules", "/v1/schedules", "Schedules by id", listSchedules, after, upTo),
		reading("get_schedule", "/v1/schedules/{schedule}", "One schedule", func(c *call) (s Schedule, err error) {
			id, err := c.name("schedule")
			if err != nil {
				return s, err
			}
			return ScheduleStats(c.ctx, c.box, id)
		}),
		reading("list_dead_letters", "/v1/dead-letters", "Dead letters by id, without payloads", listDead,
			parameter{"queue", "string", "of this queue"}, parameter{"subscriber", "string", "of this subscriber"},
			parameter{"status", "string", "dead (the default), cancelled or discarded"},
			parameter{"from", "integer", "the last id of the page before"},
			parameter{"newest", "boolean", "newest first"}, upTo),
		reading("list_tasks", "/v1/tasks", "Tasks of any queue, newest first, without payloads", listTasks,
			taskParameters...),
		reading("get_task", "/v1/tasks/{id}", "One task, or one subscriber's copy of an event", getTask,
			parameter{"payload", "boolean", "with payload and metadata: needs the permission payloads"}),
		reading("list_errors", "/v1/errors", "Why attempts fail, the most frequent reason first", listErrors,
			parameter{"of", "string", "of this queue or subscriber"},
			parameter{"since_seconds", "integer", "how far back failures count; a day where it is missing"},
			parameter{"new", "boolean", "only groups that had not been there before"}, upTo),
		reading("rates", "/v1/rates", "What happened to tasks and events lately: counts, waits and run times in steps",
			readRates, rateParameters...),
		reading("why_task", "/v1/tasks/{id}/why", "Why a task does not run, the most decisive cause first", whyTask),
	}
}

func listQueues(c *call) (list QueueList, err error) {
	page, err := c.page()
	if err == nil {
		list.Queues, err = Queues(c.ctx, c.box, page)
	}
	if n := len(list.Queues); n > 0 && n == page.Limit {
		list.Next = list.Queues[n-1].Name
	}
	return list, err
}

func listSubscribers(c *call) (list SubscriberList, err error) {
	page, err := c.page()
	if err == nil {
		list.Subscribers, err = Subscribers(c.ctx, c.box, page)
	}
	if n := len(list.Subscribers); n > 0 && n == page.Limit {
		list.Next = list.Subscribers[n-1].Name
	}
	return list, err
}

func listWorkers(c *call) (list WorkerList, err error) {
	page, err := c.page()
	if err != nil {
		return list, err
	}
	from, err := parseID(page.After)
	if err == nil {
		list.Workers, err = Workers(c.ctx, c.box, WorkerFilter{Queue: c.query.Get("queue"), After: from,
			Limit: page.Limit})
	}
	if n := len(list.Workers); n > 0 && n == page.Limit {
		list.Next = fmt.Sprint(list.Workers[n-1].ID)
	}
	return list, err
}

func listSchedules(c *call) (list ScheduleList, err error) {
	page, err := c.page()
	if err == nil {
		list.Schedules, err = Schedules(c.ctx, c.box, page)
	}
	if n := len(list.Schedules); n > 0 && n == page.Limit {
		list.Next = list.Schedules[n-1].ID
	}
	return list, err
}

func listDead(c *call) (list DeadLetterList, err error) {
	f, err := c.deadFilter()
	if err == nil {
		list.DeadLetters, err = DeadLetters(c.ctx, c.box, f)
	}
	if n := len(list.DeadLetters); n > 0 && n == f.Limit {
		list.Next = fmt.Sprint(list.DeadLetters[n-1].ID)
	}
	return list, err
}

func (c *call) deadFilter() (f outbox.DeadFilter, err error) {
	f = outbox.DeadFilter{Queue: c.query.Get("queue"), Subscriber: c.query.Get("subscriber"),
		Status: c.query.Get("status")}
	var errs [3]error
	f.After, errs[0] = parseID(c.query.Get("from"))
	f.Newest, errs[1] = c.flag("newest")
	f.Limit, errs[2] = c.limit()
	return f, errors.Join(errs[:]...)
}

func listErrors(c *call) (list ErrorList, err error) {
	f := ErrorFilter{Name: c.query.Get("of")}
	var errs [3]error
	f.Since, errs[0] = c.seconds("since_seconds")
	f.New, errs[1] = c.flag("new")
	f.Limit, errs[2] = c.limit()
	if err = errors.Join(errs[:]...); err == nil {
		list.Errors, err = ErrorGroups(c.ctx, c.box, f)
	}
	return list, err
}

func whyTask(c *call) (r Reasons, err error) {
	id, err := c.id()
	if err == nil {
		r.Reasons, err = queue.Why(c.ctx, c.box, "", id)
	}
	return r, err
}

func getTask(c *call) (t TaskDetails, err error) {
	id, err := c.id()
	if err != nil {
		return t, err
	}
	payload, err := c.flag("payload")
	if err != nil {
		return t, err
	}
	if payload {
		if _, err := c.s.cfg.Authorize(c.r, PermissionPayloads); err != nil {
			return t, err
		}
	}
	if t, err = Task(c.ctx, c.box, id); err != nil {
		return t, err
	}
	return c.s.show(c, t, payload), nil
}

// show leaves the payload out, or hands it to the redaction.
func (s *server) show(c *call, t TaskDetails, payload bool) TaskDetails {
	switch {
	case !payload:
		t.Payload, t.Metadata = nil, nil
	case s.cfg.Redact != nil:
		bare := t
		bare.Payload, bare.Metadata = nil, nil
		t.Payload, t.Metadata = redacted(s.cfg.Redact(c.ctx, bare, t.Payload)),
			redacted(s.cfg.Redact(c.ctx, bare, t.Metadata))
	}
	return t
}

// redacted is what a redaction has returned, or nothing where that is no JSON.
func redacted(doc json.RawMessage) json.RawMessage {
	if !json.Valid(doc) {
		return nil
	}
	return doc
}

func (s *server) changes() []operation {
	return []operation{
		changing("hold_queue", "/v1/queues/{queue}/hold",
			"Begin no more tasks of the queue, or of one customer key of it, for a while", holdQueue),
		changing("lift_hold", "/v1/queues/{queue}/lift-hold", "End a hold before its time", liftHold),
		changing("retry_dead_letters", "/v1/dead-letters/retry",
			"Give dead letters of tasks all their attempts again", func(c *call, b DeadSelection) (Done, error) {
				return changeDead(c, b, queue.RetryDead)
			}),
		changing("purge_dead_letters", "/v1/dead-letters/purge", "Delete dead letters of tasks for good",
			func(c *call, b DeadSelection) (Done, error) {
				return changeDead(c, b, queue.PurgeDead)
			}),
		changing("cancel_batch", "/v1/batches/{id}/cancel", "Cancel all tasks of a batch that have not ended",
			cancelBatch),
		changing("cancel_task", "/v1/tasks/{id}/cancel", "Cancel a task that waits or runs", cancelTask),
		onSubscriber("pause_subscriber", "pause", "Deliver no more events to the subscriber",
			func(c *call, name string, _ none) (int64, error) {
				return 1, events.Pause(c.ctx, c.box, name)
			}),
		onSubscriber("resume_subscriber", "resume", "End a pause", func(c *call, name string, _ none) (int64, error) {
			return 1, events.Resume(c.ctx, c.box, name)
		}),
		rewinding("replay_subscriber", "replay", "Deliver the events from a position on again",
			func(c *call, name string, b ReplayBody) error { return events.Replay(c.ctx, c.box, name, b.From) }),
		rewinding("reset_subscriber", "reset", "Start over as when the name was new",
			func(c *call, name string, _ none) error { return events.Reset(c.ctx, c.box, name) }),
		onSubscriber("skip_event", "skip", "Pass the event that blocks the subscriber",
			func(c *call, name string, b SkipBody) (int64, error) {
				return 1, events.Skip(c.ctx, c.box, name, b.Position)
			}),
		onSubscriber("retry_dead_events", "retry-dead", "Redeliver dead letters to the subscriber", retryDeadEvents),
		onSchedule("enable_schedule", "enable", "Let a schedule go on", func(c *call, id string) (Done, error) {
			return Done{Changed: 1}, schedule.Enable(c.ctx, c.box, id)
		}),
		onSchedule("disable_schedule", "disable", "Stop a schedule", func(c *call, id string) (Done, error) {
			return Done{Changed: 1}, schedule.Disable(c.ctx, c.box, id)
		}),
		onSchedule("run_schedule", "run", "Enqueue a schedule's task now", func(c *call, id string) (Done, error) {
			task, err := schedule.RunNow(c.ctx, c.box, id)
			return Done{Changed: 1, State: fmt.Sprint(task)}, err
		}),
		onSchedule("remove_schedule", "remove", "Delete a schedule; its tasks stay",
			func(c *call, id string) (Done, error) {
				return Done{Changed: 1}, schedule.Remove(c.ctx, c.box, id)
			}),
	}
}

// selected checks a selection: what chooses nothing is refused, not taken for everything.
func (b DeadSelection) selected() (f outbox.DeadFilter, err error) {
	switch {
	case b.Queue == "" && len(b.IDs) == 0 && !b.All:
		err = errors.New("give queue, ids or all")
	case b.All && (b.Queue != "" || len(b.IDs) > 0):
		err = errors.New("all excludes queue and ids")
	case len(b.IDs) > MaxChange || b.Limit > MaxChange || b.Limit < 0:
		err = fmt.Errorf("at most %d in one request", MaxChange)
	case b.OlderThan.Duration < 0:
		err = errors.New("older_than_seconds is negative")
	}
	if err != nil {
		return f, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	orDefault(&b.Limit, MaxChange)
	f = outbox.DeadFilter{Queue: b.Queue, Status: b.Status, IDs: b.IDs, Error: b.Error,
		OlderThan: b.OlderThan.Truncate(time.Millisecond), Limit: b.Limit}
	if len(f.IDs) == 0 {
		f.IDs = nil
	}
	return f, nil
}
