package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/queue"
)

// taskShown is what the view of a task shows.
type taskShown struct {
	TaskDetails
	// Result is what its handler has stored; nil where there is none, or where it may not be shown.
	Result json.RawMessage
	// Shown says that payload, metadata and result may be.
	Shown    bool
	Timeline []taskMoment
	Why      []queue.Reason
	// Trace is the id of the trace that enqueued it, from its metadata, and TraceLink where it is looked at; empty
	// where there is none.
	Trace, TraceLink string
	// Process is the host and the process that has claimed it last; empty where no worker has its number any more.
	Process string
	Actions []actionLink
	CLI     string
}

// taskMoment is an entry of a task's timeline.
type taskMoment struct {
	What string
	At   *time.Time
	// Text is what more is known, Error and Stack are of a failed attempt.
	Text, Error, Stack string
	Failed             bool
}

const (
	// sqlTaskResult reads the result of task $1. It locks nothing.
	sqlTaskResult = `SELECT r.result FROM {schema}.strunk_results r WHERE r.task_id = $1::bigint`
	// sqlProcessOf reads the host and the process of the worker $1. It locks nothing.
	sqlProcessOf = `SELECT coalesce(max(w.host || '/' || w.pid), '') FROM {schema}.strunk_workers w
WHERE w.id = $1::bigint`
)

func taskView(c *call) (any, error) {
	id, err := parseID(c.query.Get("id"))
	if err != nil {
		return nil, err
	}
	v := taskShown{Shown: c.s.may(c.r, PermissionPayloads), CLI: command([]string{"show", fmt.Sprint(id)})}
	if v.TaskDetails, err = Task(c.ctx, c.box, id); err != nil {
		return nil, err
	}
	if v.Kind == KindTask {
		if err = c.taskMore(&v); err != nil {
			return nil, err
		}
	}
	if v.Trace, _ = core.TraceOf(v.Metadata); v.Trace != "" {
		v.TraceLink = strings.ReplaceAll(c.s.cfg.TraceURL, traceInURL, v.Trace)
	}
	v.Timeline, v.Actions = timeline(v.TaskDetails), taskLinks(v.TaskDetails)
	v.TaskDetails = c.s.show(c, v.TaskDetails, v.Shown)
	v.Payload, v.Metadata, v.Result = indented(v.Payload), indented(v.Metadata), indented(v.Result)
	return v, nil
}

// taskMore reads what only tasks have: the result, and why it does not run.
func (c *call) taskMore(v *taskShown) error {
	var result []byte
	err := ask(c.ctx, c.box, one(sqlProcessOf, []any{v.Worker}, &v.Process),
		one(sqlTaskResult, []any{v.ID}, &result))
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		v.Why, err = queue.Why(c.ctx, c.box, "", v.ID)
	}
	if errors.Is(err, queue.ErrNotFound) {
		err = nil // it has ended and was dropped between the questions
	}
	with := v.TaskDetails
	with.Payload, with.Metadata = result, nil
	v.Result = c.s.show(c, with, v.Shown && result != nil).Payload
	return wrap("task", err)
}

func indented(doc json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if len(doc) == 0 || json.Indent(&out, doc, "", "  ") != nil {
		return doc
	}
	return out.Bytes()
}

// timeline is what has happened to a task, oldest first.
func timeline(t TaskDetails) []taskMoment {
	all := []taskMoment{{What: "enqueued", At: &t.CreatedAt}}
	if t.ClaimedAt != nil && t.DueAt != nil && t.DueAt.After(t.CreatedAt) && len(t.History) == 0 {
		all = append(all, taskMoment{What: "due", At: t.DueAt})
	}
	var before *time.Time
	for i, a := range t.History {
		h := taskMoment{What: fmt.Sprintf("attempt %d failed", a.Number), At: &t.History[i].At, Error: a.Error,
			Stack:  a.Stack,
			Failed: true, Text: "in " + a.Worker}
		if before != nil {
			h.Text += ", " + age(a.At.Sub(*before)) + " after the one before"
		}
		before, all = &t.History[i].At, append(all, h)
	}
	switch t.Status {
	case queue.StatusScheduled:
		what := "will be due"
		if t.Attempts > 0 {
			what = fmt.Sprintf("attempt %d will be due", t.Attempts+1)
		}
		all = append(all, taskMoment{What: what, At: t.DueAt})
	case queue.StatusPending:
		all = append(all, taskMoment{What: "due", At: orTime(t.DueAt, t.CreatedAt), Text: "waits for a worker"})
	case queue.StatusClaimed:
		all = append(all, taskMoment{What: "claimed", At: t.ClaimedAt, Text: waited(t)})
	default:
		if t.ClaimedAt != nil {
			all = append(all, taskMoment{What: "last claimed", At: t.ClaimedAt, Text: waited(t)})
		}
		all = append(all, taskMoment{What: string(t.Status), At: t.FinishedAt, Failed: t.Status == queue.StatusDead})
	}
	return all
}

func orTime(t *time.Time, or time.Time) *time.Time {
	if t != nil {
		return t
	}
	return &or
}

// waited says how long a claimed task had waited since it was due.
func waited(t TaskDetails) string {
	if due := orTime(t.DueAt, t.CreatedAt); t.ClaimedAt != nil && t.ClaimedAt.After(*due) && len(t.History) == 0 {
		return "after it had waited " + age(t.ClaimedAt.Sub(*due))
	}
	return ""
}

// taskLinks are what can be done to a task in its status.
func taskLinks(t TaskDetails) (all []actionLink) {
	id := fmt.Sprint(t.ID)
	add := func(title, op string, danger bool, more ...string) {
		of := url.Values{"ids": {id}}
		if op == "cancel_task" { // it is for one task
			of = url.Values{"id": {id}}
		}
		for i := 0; i < len(more); i += 2 {
			of.Set(more[i], more[i+1])
		}
		all = append(all, newActionLink(title, op, "task?id="+id, danger, of))
	}
	switch {
	case t.Kind == KindDelivery && t.Status == queue.StatusDead:
		add("Retry …", "retry_dead_events", false, "subscriber", t.Subscriber)
		return all
	case t.Kind == KindDelivery:
		return nil
	}
	switch t.Status {
	case queue.StatusScheduled, queue.StatusPending:
		if t.Status == queue.StatusScheduled {
			add("Run now …", "run_tasks_now", false)
		}
		add("Reschedule …", "reschedule_tasks", false)
		add("Change the priority …", "set_priority", false, "priority", fmt.Sprint(t.Priority))
		add("Cancel …", "cancel_task", true)
		add("Discard …", "discard_tasks", true)
		add("Delete …", "delete_tasks", true)
	case queue.StatusClaimed:
		add("Cancel …", "cancel_task", true)
	case queue.StatusDead, queue.StatusCancelled, queue.StatusDiscarded:
		add("Retry …", "retry_dead_letters", false, "status", string(t.Status))
		add("Delete …", "delete_tasks", true)
	}
	return all
}

// taskActions are what can be done to tasks by their ids.
func taskActions() []action {
	ids := field{name: "ids", kind: fieldIDs}
	cli := func(verb string, pairs ...string) func(url.Values) []string {
		return func(f url.Values) []string {
			return slices.Concat([]string{verb}, f["ids"], f["id"], flags(f, pairs...))
		}
	}
	reason := prompt("reason", "Reason", fieldText, "kept as the last error of the task")
	return []action{
		{op: "retry_dead_letters", title: "Retry", fields: []field{ids, {name: "status", kind: fieldText}},
			says: saysTasks("They get all their attempts again, and wait for a worker."), cli: cli("retry")},
		{op: "run_tasks_now", title: "Run now", fields: []field{ids},
			says: saysTasks("They become due now. A failed attempt stays spent."), cli: cli("run-now")},
		{op: "reschedule_tasks", title: "Reschedule", fields: []field{ids, needed(prompt("due_at", "Due at (UTC)",
			fieldTime,
			"such as 2026-01-31T15:04"))}, says: saysTasks("They become due at another time."),
			cli: func(f url.Values) []string {
				return slices.Concat([]string{"reschedule"}, f["ids"], dueFlag(f))
			}},
		{op: "set_priority", title: "Change the priority", fields: []field{ids, needed(prompt("priority", "Priority",
			fieldNumber, "0 to 9; higher ones go first"))}, says: saysTasks("They go to the end of the priority."),
			cli: func(f url.Values) []string {
				return slices.Concat([]string{"priority"}, f["ids"], neededFlag(f, "priority", "to", "PRIORITY"))
			}},
		{op: "cancel_task", title: "Cancel", danger: true, fields: []field{{name: "id", kind: fieldText}, reason},
			says: saysTasks("A task that waits ends as cancelled; of one that runs, the handler's context ends. " +
				"Retry undoes it."), cli: cli("cancel", "reason", "reason")},
		{op: "discard_tasks", title: "Discard", danger: true, fields: []field{ids, reason},
			says: saysTasks("Those that wait are given up; retry undoes it."), cli: cli("discard", "reason", "reason")},
		{op: "delete_tasks", title: "Delete", danger: true, typed: true, fields: []field{ids},
			says: saysTasks("They are deleted for good. Nothing brings them back."), cli: func(f url.Values) []string {
				return slices.Concat([]string{"delete"}, f["ids"], []string{"--yes"})
			}},
	}
}

// saysTasks says to how many tasks something happens: exactly those that were selected.
func saysTasks(text string) func(*call, url.Values) (said, error) {
	return func(_ *call, form url.Values) (said, error) {
		n := len(form["ids"]) + len(form["id"])
		if n == 0 {
			return said{}, fmt.Errorf("no task was selected: go back and select some: %w", ErrInvalid)
		}
		return said{Text: text, Count: &Count{N: int64(n), Precision: Exact}}, nil
	}
}
