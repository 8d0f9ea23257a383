package ops

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// jobsShown is what the list of bulk jobs shows.
type jobsShown struct {
	Tabs  []tab
	Jobs  []jobRow
	Older string
}

// jobRow is a bulk job as the views show it.
type jobRow struct {
	Job
	// Percent is how much of the ids it has passed.
	Percent int
	// Chooses says what its filter chooses.
	Chooses string
	Class   string
}

func newJobRow(j Job) jobRow {
	r := jobRow{Job: j, Chooses: chooses(j.Filter)}
	switch {
	case j.State == JobDone || j.UntilID <= 0:
		r.Percent = 100
	default:
		r.Percent = int(100 * min(j.Position, j.UntilID) / j.UntilID)
	}
	switch j.State {
	case JobFailed:
		r.Class = "bad"
	case JobStopped:
		r.Class = "warn"
	}
	return r
}

// chooses says a filter in words: status dead, queue emails.
func chooses(doc json.RawMessage) string {
	var filter map[string]any
	if json.Unmarshal(doc, &filter) != nil || len(filter) == 0 {
		return "all"
	}
	var all []string
	for name, v := range filter {
		if _, text := v.(string); !text {
			doc, _ := json.Marshal(v)
			v = string(doc)
		}
		all = append(all, fmt.Sprintf("%s %v", strings.ReplaceAll(name, "_", " "), v))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

var jobTabs = []string{"", "running", "stopped", "done", "failed"}

func jobsView(c *call) (any, error) {
	f := JobFilter{State: JobState(c.query.Get("state")), Limit: pageRows}
	var err error
	if f.After, err = parseID(c.query.Get("after")); err != nil {
		return nil, err
	}
	jobs, err := Jobs(c.ctx, c.box, f)
	v := jobsShown{}
	for _, j := range jobs {
		v.Jobs = append(v.Jobs, newJobRow(j))
	}
	for _, state := range jobTabs {
		title := state
		if title == "" {
			title = "all"
		}
		v.Tabs = append(v.Tabs, tab{title, "jobs?" + changedQuery(changedQuery(c.query, "after", ""), "state",
			state).Encode(), string(f.State) == state})
	}
	if len(jobs) == f.Limit {
		v.Older = "jobs?" + changedQuery(c.query, "after", fmt.Sprint(jobs[len(jobs)-1].ID)).Encode()
	}
	return v, err
}

func jobView(c *call) (any, error) {
	id, err := parseID(c.query.Get("id"))
	if err != nil {
		return nil, err
	}
	j, err := ReadJob(c.ctx, c.box, id)
	return newJobRow(j), err
}

// jobActions start bulk jobs of all tasks that match, and change jobs.
func jobActions() []action {
	rate := prompt("per_second", "Tasks in a second", fieldNumber, "empty: as many as it can")
	first := prompt("one_first", "Do one first, then stop until it is resumed", fieldFlag, "")
	reason := prompt("reason", "Reason", fieldText, "kept with the job, and as the last error of the tasks")
	due := needed(prompt("due_at", "Due at (UTC)", fieldTime, "such as 2026-01-31T15:04"))
	priority := needed(prompt("priority", "Priority", fieldNumber, "0 to 9; higher ones go first"))
	return []action{
		jobAction(ActRetry, "Retry all that match", "They get all their attempts again.", false, rate, first),
		jobAction(ActRunNow, "Run all that match now", "They become due now.", false, rate, first),
		jobAction(ActReschedule, "Reschedule all that match", "They become due at another time.", false, due,
			rate, first),
		jobAction(ActSetPriority, "Change the priority of all that match", "They go to the end of the priority.", false,
			priority, rate),
		jobAction(ActCancel, "Cancel all that match",
			"They are cancelled; of those that run, the handlers' contexts end. "+
				"Retry undoes it.", true, reason, rate, first),
		jobAction(ActDiscard, "Discard all that match", "They are given up; retry undoes it.", true, reason, rate,
			first),
		jobAction(ActDelete, "Delete all that match", "They are deleted for good. Nothing brings them back.",
			true, reason,
			rate, first),
		onJobAction("stop_job", "Stop the job", "It stops after the slice under way. What it has done stays.", "stop"),
		onJobAction("resume_job", "Resume the job", "It goes on where it was.", "resume"),
		{op: "set_job_rate", title: "Change the job's rate", fields: []field{{name: "id", kind: fieldText},
			needed(prompt("per_second", "Tasks in a second", fieldNumber, "0: as many as it can"))},
			cli: func(f url.Values) []string {
				return append([]string{"jobs", "rate", f.Get("id")}, neededFlag(f, "per_second", "to", "RATE")...)
			}},
	}
}

// jobFilterFields are what chooses the tasks of a job.
var jobFilterFields = append(hidden(fieldText, "status", "queue", "customer_key", "dedup_key", "error", "fingerprint"),
	field{name: "metadata_contains", kind: fieldJSON}, field{name: "payload_contains", kind: fieldJSON},
	field{name: "older_than_seconds", kind: fieldNumber}, field{name: "younger_than_seconds", kind: fieldNumber},
	field{name: "all", kind: fieldFlag})

func jobAction(act Act, title, text string, danger bool, more ...field) action {
	return action{op: "start_job", name: "job_" + string(act), title: title, danger: danger, typed: act == ActDelete,
		fields: slices.Concat([]field{fixed("act", fieldText, string(act))}, jobFilterFields, more),
		says: func(c *call, _ url.Values) (said, error) {
			f, err := c.taskFilter()
			if err != nil {
				return said{}, err
			}
			p, err := PreviewJob(c.ctx, c.box, NewJob{Act: act, Filter: f})
			return said{Text: text + " A bulk job does it, in slices; it goes on when this page is closed.",
				Count: &p.Matching}, err
		},
		cli: func(form url.Values) []string { return jobCommand(act, form) },
		then: func(answer map[string]any) string {
			id, _ := answer["id"].(float64)
			return fmt.Sprintf("job?id=%.0f", id)
		}}
}

func jobCommand(act Act, form url.Values) []string {
	verb := map[Act]string{ActRunNow: "run-now", ActSetPriority: "priority"}[act]
	if verb == "" {
		verb = string(act)
	}
	args := append([]string{"jobs", "start", verb}, flags(form, "status", "status", "queue", "queue", "customer_key",
		"key", "dedup_key", "dedup-key", "error", "error", "fingerprint", "fingerprint", "metadata_contains",
		"metadata",
		"payload_contains", "payload", "reason", "reason", "per_second", "rate")...)
	for _, span := range [][2]string{{"older_than_seconds", "--older-than"},
		{"younger_than_seconds", "--younger-than"}} {
		if v := form.Get(span[0]); v != "" {
			args = append(args, span[1], v+"s")
		}
	}
	for _, flag := range [][2]string{{"all", "--all"}, {"one_first", "--one-first"}} {
		if form.Get(flag[0]) == "true" {
			args = append(args, flag[1])
		}
	}
	switch act {
	case ActReschedule:
		args = append(args, dueFlag(form)...)
	case ActSetPriority:
		args = append(args, neededFlag(form, "priority", "to", "PRIORITY")...)
	case ActDelete:
		args = append(args, "--yes")
	}
	return args
}

func onJobAction(op, title, text, verb string) action {
	return action{op: op, title: title, fields: hidden(fieldText, "id"),
		says: saysText(text),
		cli:  func(f url.Values) []string { return []string{"jobs", verb, f.Get("id")} }}
}
