package ops

import (
	"net/url"
	"time"

	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// schedulesShown is what the view of the schedules shows.
type schedulesShown struct {
	Schedules []scheduleRow
	// Next is the id to go on after; empty on the last page.
	Next string
}

// scheduleRow is a schedule with its next runs and what became of its last task.
type scheduleRow struct {
	Schedule
	State, Class string
	// Due are the next due times, the first of them NextDue.
	Due []time.Time
	// Result is the status of the last task, or "gone" where it is no longer kept; empty before the first.
	Result, ResultClass string
}

const (
	// schedulesPerPage is how many schedules a page has, nextRuns how many due times of each.
	schedulesPerPage = 50
	nextRuns         = 3
)

func schedulesView(c *call) (any, error) {
	all, err := Schedules(c.ctx, c.box, Page{After: c.query.Get("after"), Limit: schedulesPerPage})
	if err != nil {
		return nil, err
	}
	var v schedulesShown
	var ids []int64
	for _, s := range all {
		if s.LastTaskID != 0 {
			ids = append(ids, s.LastTaskID)
		}
	}
	states := map[int64]queue.Status{}
	if len(ids) > 0 {
		found, err := TaskStates(c.ctx, c.box, ids...)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			states[t.ID] = t.Status
		}
	}
	for _, s := range all {
		v.Schedules = append(v.Schedules, s.row(states, c.s.cfg.Thresholds))
	}
	if n := len(all); n == schedulesPerPage {
		v.Next = all[n-1].ID
	}
	return v, nil
}

func (s Schedule) row(states map[int64]queue.Status, t Thresholds) scheduleRow {
	r := scheduleRow{Schedule: s}
	switch {
	case s.LastError != "":
		r.State, r.Class = "cannot be fired", "bad"
	case !s.Enabled:
		r.State = "disabled"
	case s.LateBy.Duration > t.LoopDelay:
		r.State, r.Class = "late by "+age(s.LateBy), "warn"
	default:
		r.State = "ok"
	}
	if spec, err := schedule.Parse(s.Spec, s.TimeZone); err == nil && s.Enabled {
		for due := s.NextDue; len(r.Due) < nextRuns && !due.IsZero(); due = spec.Next(due) {
			r.Due = append(r.Due, due)
		}
	}
	if s.LastTaskID != 0 {
		status, kept := states[s.LastTaskID]
		if r.Result = string(status); !kept {
			r.Result = "gone"
		}
		if status == queue.StatusDead {
			r.ResultClass = "bad"
		}
	}
	return r
}

// scheduleActions are what can be done to schedules.
func scheduleActions() []action {
	id := hidden(fieldText, "schedule")
	says := func(text string) func(*call, url.Values) (said, error) {
		return func(c *call, form url.Values) (said, error) {
			s, err := ScheduleStats(c.ctx, c.box, form.Get("schedule"))
			return said{Text: s.ID + " (" + s.Spec + ", queue " + s.Queue + "): " + text}, err
		}
	}
	cli := func(verb ...string) func(url.Values) []string {
		return func(f url.Values) []string { return append(verb, f.Get("schedule")) }
	}
	return []action{
		{op: "run_schedule", title: "Run now", fields: id, cli: cli("schedules", "run"),
			says: says("one task is enqueued now, beside the due times. The notice names its id.")},
		{op: "enable_schedule", title: "Enable the schedule", fields: id, cli: cli("schedules", "enable"),
			says: says("it goes on with its next due time from now; what was due in between is left out.")},
		{op: "disable_schedule", title: "Disable the schedule", fields: id, cli: cli("schedules", "disable"),
			says: says("it enqueues nothing until it is enabled; tasks that it has enqueued are not touched.")},
		{op: "remove_schedule", title: "Remove the schedule", fields: id, danger: true, cli: cli("schedules", "remove"),
			says: says("it is deleted; tasks that it has enqueued stay. A program that registers it at its start " +
				"makes it anew.")},
	}
}
