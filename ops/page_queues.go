package ops

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// queuesOnAPage is how many queues the list shows at once: each costs the database about a tenth of a millisecond.
const queuesOnAPage = 50

// sortCountCap is how far rows of each queue are counted to sort the queues by them. Those that have more are sorted by
// what was counted of them last.
const sortCountCap = 100

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
	// order sorts by what is known of queues without counting, count by a count, the largest first.
	order func(a, b Queue) int
	count *queueCount
}

// queueCount is a count by which queues are sorted.
type queueCount struct {
	// of is where the count is kept in a queue.
	of func(q *Queue) *Count
	// part is what strunk_queue_counts calls it.
	part string
}

// queueSorts are the columns of the list of queues; what has no key does not sort.
var queueSorts = []queueSort{
	{"name", "Queue", "", func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) }, nil},
	{"worst", "State", "", nil, nil},
	{"waiting", "Waiting", "n", nil, &queueCount{func(q *Queue) *Count { return &q.Pending }, "pending"}},
	{"oldest", "Oldest", "n", func(a, b Queue) int {
		return cmp.Compare(b.WaitingFor.Duration,
			a.WaitingFor.Duration)
	}, nil},
	{"running", "Running", "n", nil, &queueCount{func(q *Queue) *Count { return &q.Claimed }, "claimed"}},
	{"", "Done", "n w", nil, nil}, {"", "Last hour", "w", nil, nil}, {"", "Failing", "n w", nil, nil},
	{"dead", "Dead", "n", nil, &queueCount{func(q *Queue) *Count { return &q.Dead }, "dead"}},
}

// sqlCountEach counts, of each of the queues $1, the part $2 up to $3; where there are more, they are as many as were
// counted last. It locks nothing.
const sqlCountEach = `SELECT c.n, c.precise
FROM {schema}.strunk_queue_counts($1::text[], ARRAY[$2::text], $3::integer) c ORDER BY c.place`

// countEach asks how many tasks of a part each of the queues has: see sqlCountEach.
func countEach(into *[]Count, queues []string, part string, most int) question {
	return many(into, sqlCountEach, []any{queues, part, most}, func(rows pgx.Rows) (n Count, err error) {
		return n, rows.Scan(&n.N, &n.Precision)
	})
}

func queuesView(c *call) (any, error) {
	st, err := c.s.state.get(c.ctx)
	if err != nil {
		return nil, err
	}
	from, err := parseID(c.query.Get("from"))
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	chosen, by, err := chooseQueues(st.queues, c.query, c.s.cfg.Thresholds)
	if err == nil && by.count != nil {
		err = c.sortByCount(chosen, by.count)
	}
	if err != nil {
		return nil, err
	}
	v := queuesShown{Q: c.query.Get("q"), State: State(c.query.Get("state")), States: queueStates,
		Heads: sortHeads(c.query), Total: len(chosen), AllPaused: st.paused}
	first := min(int(from), len(chosen))
	last := min(first+queuesOnAPage, len(chosen))
	if last < len(chosen) {
		v.Next = "queues?" + changedQuery(c.query, "from", strconv.Itoa(last)).Encode()
	}
	v.Rows, err = c.rows(chosen[first:last])
	return v, err
}

// chooseQueues filters queues as a query wants, and sorts them, but for what is sorted by a count.
func chooseQueues(all []Queue, query url.Values, t Thresholds) ([]Queue, queueSort, error) {
	by := cmp.Or(query.Get("sort"), "worst")
	i := slices.IndexFunc(queueSorts, func(s queueSort) bool { return s.key == by })
	if i < 0 {
		return nil, queueSort{}, fmt.Errorf("sort: there is no column %q: %w", by, ErrInvalid)
	}
	part, state := strings.ToLower(query.Get("q")), State(query.Get("state"))
	chosen := slices.DeleteFunc(WorstFirst(all, t), func(q Queue) bool {
		return !strings.Contains(strings.ToLower(q.Name), part) ||
			state != "" && q.State(t) != state
	})
	if order := queueSorts[i].order; order != nil {
		slices.SortStableFunc(chosen, func(a, b Queue) int { return cmp.Or(order(a, b), cmp.Compare(a.Name, b.Name)) })
	}
	return chosen, queueSorts[i], nil
}

// sortByCount counts of each of the queues what by counts, and sorts them by it, the largest first.
func (c *call) sortByCount(queues []Queue, by *queueCount) error {
	var counts []Count
	if err := ask(c.ctx, c.box, countEach(&counts, namesOf(queues), by.part, sortCountCap)); err != nil {
		return wrap("queues", err)
	}
	for i, n := range counts {
		by.of(&queues[i]).N = n.N
	}
	slices.SortStableFunc(queues, func(a, b Queue) int {
		return cmp.Or(cmp.Compare(by.of(&b).N, by.of(&a).N), cmp.Compare(a.Name, b.Name))
	})
	return nil
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
