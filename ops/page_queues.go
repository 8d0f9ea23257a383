package ops

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// queuesShown is what the list of queues shows.
type queuesShown struct {
	// Q is a part of a name, State one of States; empty means any.
	Q      string
	State  State
	States []State
	Heads  []sortHead
	Rows   []queueRow
	// Total is how many match.
	Total     int
	Next      string
	AllPaused *Pause
}

// sortHead is a column's head that sorts the table.
type sortHead struct {
	Title, Link, Class string
	Current            bool
}

// queueSort is a column of the list of queues, and how it sorts.
type queueSort struct {
	key, title, class string
	order             func(a, b Queue) int
}

// queueSorts are the columns of the list of queues; what has no order does not sort.
var queueSorts = []queueSort{
	{"name", "Queue", "", func(a, b Queue) int { return 0 }},
	{"worst", "State", "", nil},
	{"waiting", "Waiting", "n", func(a, b Queue) int { return cmp.Compare(b.Pending.N, a.Pending.N) }},
	{"oldest", "Oldest", "n", func(a, b Queue) int {
		return cmp.Compare(b.WaitingFor.Duration,
			a.WaitingFor.Duration)
	}},
	{"running", "Running", "n", func(a, b Queue) int { return cmp.Compare(b.Claimed.N, a.Claimed.N) }},
	{"", "Done", "n w", nil}, {"", "Last hour", "w", nil}, {"", "Failing", "n w", nil},
	{"dead", "Dead", "n", func(a, b Queue) int { return cmp.Compare(b.Dead.N, a.Dead.N) }},
}

// sortsByCount are the keys of the columns that are counts: to sort by them, all queues are counted.
var sortsByCount = []string{"waiting", "running", "dead"}

func queuesView(c *call) (any, error) {
	st, t, err := c.stateAndTrends("hour")
	if err != nil {
		return nil, err
	}
	from, err := parseID(c.query.Get("from"))
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	all := st.queues
	if slices.Contains(sortsByCount, c.query.Get("sort")) {
		if all, err = c.s.counts.get(c.ctx); err != nil {
			return nil, err
		}
	}
	chosen, err := chooseQueues(all, c.query, c.s.cfg.Thresholds)
	if err != nil {
		return nil, err
	}
	v := queuesShown{Q: c.query.Get("q"), State: State(c.query.Get("state")), States: queueStates,
		Heads: sortHeads(c.query), Total: len(chosen), AllPaused: st.paused}
	first := min(int(from), len(chosen))
	last := min(first+DefaultLimit, len(chosen))
	if last < len(chosen) {
		v.Next = "queues?" + changedQuery(c.query, "from", strconv.Itoa(last)).Encode()
	}
	v.Rows, err = c.rows(chosen[first:last], t)
	return v, err
}

// chooseQueues filters and sorts queues as a query wants.
func chooseQueues(all []Queue, query url.Values, t Thresholds) ([]Queue, error) {
	by := cmp.Or(query.Get("sort"), "worst")
	i := slices.IndexFunc(queueSorts, func(s queueSort) bool { return s.key == by })
	if i < 0 {
		return nil, fmt.Errorf("sort: there is no column %q: %w", by, ErrInvalid)
	}
	part, state := strings.ToLower(query.Get("q")), State(query.Get("state"))
	chosen := slices.DeleteFunc(WorstFirst(all, t), func(q Queue) bool {
		return !strings.Contains(strings.ToLower(q.Name), part) ||
			state != "" && q.State(t) != state
	})
	if order := queueSorts[i].order; order != nil {
		slices.SortStableFunc(chosen, func(a, b Queue) int { return cmp.Or(order(a, b), cmp.Compare(a.Name, b.Name)) })
	}
	return chosen, nil
}

func sortHeads(query url.Values) (all []sortHead) {
	by := cmp.Or(query.Get("sort"), "worst")
	for _, s := range queueSorts {
		h := sortHead{Title: s.title, Class: s.class, Current: s.key == by}
		if s.key != "" {
			h.Link = "queues?" + changedQuery(changedQuery(query, "from", ""), "sort", s.key).Encode()
		}
		all = append(all, h)
	}
	return all
}
