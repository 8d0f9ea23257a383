package ops

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/strunk-go/strunk/queue"
)

// tasksShown is what the list of tasks shows.
type tasksShown struct {
	Tabs   []tab
	Filter []filterField
	TaskList
	Status string
	// Older leads to the next page; empty where there is none. Short says that looking ended before the page was full.
	Older string
	Short bool
	// Acts are what can be done to the selected tasks, All to all that match.
	Acts []actionLink
	All  []actionLink
	// Matching is how many match; nil where only looking at them would tell.
	Matching *Count
}

// tab is one of several lists.
type tab struct {
	Title, Link string
	Current     bool
}

// filterField is a field of a filter.
type filterField struct{ Name, Label, Value, Hint string }

// taskTabs are the statuses as tabs.
var taskTabs = []struct{ status, title string }{
	{"", "waiting or running"}, {"pending", "pending"}, {"scheduled", "scheduled"}, {"claimed", "running"},
	{"dead", "dead"}, {"cancelled", "cancelled"}, {"discarded", "discarded"}, {"delivered", "done"},
}

// pageRows is how many rows a page of a list has.
const pageRows = 50

func tasksView(c *call) (any, error) {
	f, err := c.taskFilter()
	if err != nil {
		return nil, err
	}
	f.After, f.Limit = c.query.Get("after"), pageRows
	if c.query.Has("limit") {
		if f.Limit, err = c.limit(); err != nil {
			return nil, err
		}
	}
	if text := c.query.Get("examine"); text != "" {
		if f.Examine, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("examine: %q is no number: %w", text, ErrInvalid)
		}
	}
	v := tasksShown{Status: string(f.Status), Filter: filterFields(c.query, c.s.may(c.r, PermissionPayloads))}
	if v.TaskList, err = Tasks(c.ctx, c.box, f); err != nil {
		return nil, err
	}
	v.Tabs = tabs(c.query)
	if v.Next != "" {
		v.Older, v.Short = "tasks?"+changedQuery(c.query, "after", v.Next).Encode(), len(v.Tasks) < f.Limit
	}
	v.Acts, v.All = selectedActs(v.Status), matchingActs(c.query, f)
	v.Matching, err = c.matching(f)
	return v, err
}

// matching counts the tasks of a queue in one status, where a filter asks for nothing else, to CountCap.
func (c *call) matching(f TaskFilter) (*Count, error) {
	counted := []queue.Status{queue.StatusPending, queue.StatusScheduled, queue.StatusClaimed, queue.StatusDead,
		queue.StatusCancelled, queue.StatusDiscarded}
	for name, v := range c.query {
		if of := []string{"status", "queue", "after", "limit", "examine"}; v[0] != "" && !slices.Contains(of, name) {
			return nil, nil
		}
	}
	if f.Queue == "" || !slices.Contains(counted, f.Status) {
		return nil, nil
	}
	var counts []Count
	if err := ask(c.ctx, c.box, countEach(&counts, []string{f.Queue}, string(f.Status), CountCap)); err != nil {
		return nil, wrap("tasks", err)
	}
	return &counts[0], nil
}

// changedQuery is a query with one parameter changed; what is empty is left out.
func changedQuery(query url.Values, name, value string) url.Values {
	q := url.Values{}
	for key, v := range query {
		if v[0] != "" {
			q[key] = v
		}
	}
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	return q
}

func tabs(query url.Values) (all []tab) {
	for _, t := range taskTabs {
		q := changedQuery(changedQuery(query, "status", t.status), "after", "")
		all = append(all, tab{t.title, "tasks?" + q.Encode(), query.Get("status") == t.status})
	}
	return all
}

// filterFields are those that the list has; documents are for who may see them.
func filterFields(query url.Values, payloads bool) []filterField {
	all := []filterField{{"queue", "Queue", "", ""}, {"error", "Error contains", "", ""},
		{"customer_key", "Customer key", "", ""}, {"dedup_key", "Dedup key", "", ""},
		{"fingerprint", "Error group", "", ""},
		{"older_than_seconds", "Older than (s)", "", "3600"},
		{"younger_than_seconds", "Younger than (s)", "", "3600"}}
	if payloads {
		all = append(all, filterField{"metadata_contains", "Metadata contain", "", `{"tenant":"a"}`},
			filterField{"payload_contains", "Payload contains", "", `{"to":"ann"}`})
	}
	for i := range all {
		all[i].Value = query.Get(all[i].Name)
	}
	return all
}

// actsOn are the acts that a status allows, of selected tasks (by an operation) and of all (by a bulk job).
var actsOn = []struct {
	title, all, op string
	act            Act
	danger         bool
	statuses       []string
}{
	{"Retry", "Retry all", "retry_dead_letters", ActRetry, false, []string{"dead", "cancelled", "discarded"}},
	{"Run now", "Run all now", "run_tasks_now", ActRunNow, false, []string{"", "scheduled"}},
	{"Reschedule", "Reschedule all", "reschedule_tasks", ActReschedule, false, []string{"", "scheduled", "pending"}},
	{"Change the priority", "Change the priority of all", "set_priority", ActSetPriority, false, []string{"",
		"scheduled", "pending"}},
	{"Cancel", "Cancel all", "", ActCancel, true, []string{"", "scheduled", "pending", "claimed"}},
	{"Discard", "Discard all", "discard_tasks", ActDiscard, true, []string{"", "scheduled", "pending"}},
	{"Delete", "Delete all", "delete_tasks", ActDelete, true, []string{"", "scheduled", "pending", "dead",
		"cancelled", "discarded"}},
}

// selectedActs are the buttons of a list: Link is the action.
func selectedActs(status string) (all []actionLink) {
	for _, a := range actsOn {
		if a.op != "" && slices.Contains(a.statuses, status) {
			all = append(all, actionLink{a.title + " …", a.op, a.danger})
		}
	}
	return all
}

// matchingActs are what can be done to all that match.
func matchingActs(query url.Values, f TaskFilter) (all []actionLink) {
	for _, a := range actsOn {
		if !slices.Contains(a.statuses, string(f.Status)) {
			continue
		}
		q := changedQuery(changedQuery(changedQuery(query, "after", ""), "limit", ""), "examine", "")
		if f.choosesAll() {
			q.Set("all", "true")
		}
		all = append(all, newActionLink(a.all+" …", "job_"+string(a.act), "jobs", a.danger, q))
	}
	return all
}
