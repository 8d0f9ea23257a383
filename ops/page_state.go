package ops

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// state is what the views show of the whole installation. It is asked for at most once in Config.Refresh.
type state struct {
	facts
	report  Report
	overall Overall
	// fresh are the error groups that are new in the last hour.
	fresh []ErrorGroup
}

const (
	// maxGroups is how many new error groups are counted.
	maxGroups = 100
	// keepCounts is how old the counts may be by which queues are sorted, and keepGroups how old error groups may be:
	// both look at much.
	keepCounts = 10 * time.Second
	keepGroups = 10 * time.Second
)

// groupCache are the error groups that were asked for lately, by filter.
type groupCache struct {
	mu sync.Mutex
	by map[ErrorFilter]*cached[errorGroups]
}

// errorGroups are groups with their trends.
type errorGroups struct {
	groups []ErrorGroup
	trends map[string][]float64
}

// maxFilters is how many filters of error groups are remembered.
const maxFilters = 100

// get returns the groups of a filter as they were at most keepGroups ago.
func (g *groupCache) get(ctx context.Context, box *outbox.Box, f ErrorFilter) (errorGroups, error) {
	g.mu.Lock()
	of := g.by[f]
	if of == nil {
		if len(g.by) >= maxFilters || g.by == nil {
			g.by = map[ErrorFilter]*cached[errorGroups]{}
		}
		of = &cached[errorGroups]{keep: keepGroups, ask: func(ctx context.Context) (e errorGroups, err error) {
			if e.groups, err = ErrorGroups(ctx, box, f); err == nil {
				e.trends, err = errorTrends(ctx, box, e.groups)
			}
			return e, err
		}}
		g.by[f] = of
	}
	g.mu.Unlock()
	return of.get(ctx)
}

func (s *server) keepState() {
	s.state.ask = func(ctx context.Context) (state, error) { return askState(ctx, s.box, s.cfg.Thresholds) }
	s.state.keep = s.cfg.Refresh
	s.counts.ask = func(ctx context.Context) (all []Queue, err error) {
		err = ask(ctx, s.box, queuesQuestion(&all, "", MaxLimit, ListCountCap))
		return all, wrap("queues", err)
	}
	s.counts.keep = keepCounts
	s.trends = map[string]*cached[trends]{}
	for name, span := range spans {
		s.trends[name] = &cached[trends]{keep: span.keep, ask: func(ctx context.Context) (trends, error) {
			return askTrends(ctx, s.box, span, "")
		}}
	}
}

func askState(ctx context.Context, box *outbox.Box, t Thresholds) (st state, err error) {
	if st.facts, err = gather(ctx, box); err != nil {
		return st, wrap("page", err)
	}
	err = ask(ctx, box, overallQuestion(&st.overall), many(&st.fresh, sqlErrorGroups,
		[]any{orNull(""), time.Hour.Microseconds(), true, maxGroups}, scanErrorGroup))
	st.report = st.facts.report(t)
	return st, wrap("page", err)
}

// span is how far back plots go.
type span struct {
	window, step, keep time.Duration
	// last is what the numbers beside the plots are of.
	last string
}

// spans are the plots' spans, by the parameter over. Two days change slowly, and cost more.
var spans = map[string]span{
	"hour": {time.Hour, time.Minute, 10 * time.Second, "last minute"},
	"2d":   {MaxRatesWindow, time.Hour, time.Minute, "last hour"},
}

// over returns the span that is asked for, an hour where none is, and its name.
func (c *call) over() (name string, of span, err error) {
	name = cmp.Or(c.query.Get("over"), "hour")
	of, known := spans[name]
	if !known {
		err = fmt.Errorf("over: %q is neither hour nor 2d: %w", name, ErrInvalid)
	}
	return name, of, err
}

// trends are what happened lately to all queues together, and to each.
type trends struct {
	steps  int
	step   time.Duration
	all    []QueueStep
	queues map[string]queueTrend
}

// queueTrend is what happened to one queue lately.
type queueTrend struct {
	Total QueueStep
	// Done and Failed count by the step.
	Done, Failed []float64
}

// askTrends asks for the steps of one queue, or of all. The last step is not over: it is left out.
func askTrends(ctx context.Context, box *outbox.Box, of span, name string) (t trends, err error) {
	var from, to time.Time
	var rows []countedStep
	window, step := of.window.Microseconds(), int(of.step.Seconds())
	err = ask(ctx, box, one(sqlRatesSpan, []any{window, step}, &to, &from), many(&rows, sqlRates,
		[]any{core.CountersOfQueue, orNull(name), "", MaxLimit, window, step}, scanCountedStep))
	return newTrends(rows, from, to, of.step), wrap("page", err)
}

func newTrends(rows []countedStep, from, to time.Time, step time.Duration) trends {
	t := trends{steps: max(int(to.Sub(from)/step), 0), step: step, queues: map[string]queueTrend{}}
	all, totals := make([]countedStep, t.steps), map[string]*countedStep{}
	for _, r := range rows {
		i := int(r.at.Sub(from) / step)
		if i < 0 || i >= t.steps {
			continue
		}
		all[i].add(r.counted)
		if totals[r.name] == nil {
			totals[r.name] = &countedStep{at: from}
			t.queues[r.name] = queueTrend{Done: make([]float64, t.steps), Failed: make([]float64, t.steps)}
		}
		totals[r.name].add(r.counted)
		q := t.queues[r.name]
		q.Done[i], q.Failed[i] = q.Done[i]+float64(r.done), q.Failed[i]+float64(r.failed)
	}
	for i := range all {
		all[i].at = from.Add(time.Duration(i) * step)
		t.all = append(t.all, all[i].ofQueue())
	}
	for name, q := range t.queues {
		q.Total = totals[name].ofQueue()
		t.queues[name] = q
	}
	return t
}

// over is how much time the steps cover.
func (t trends) over() time.Duration { return time.Duration(t.steps) * t.step }

// queueRow is a queue as tables show it.
type queueRow struct {
	Queue
	Queued queueTrend
	Over   time.Duration
	State  State
	// Class is how bad that is: bad, warn, calm or empty.
	Class string
}

// sqlQueuesNamed reads the states of the queues $1, counting to $2. It locks nothing.
const sqlQueuesNamed = `SELECT ` + queueColumns + `
FROM {schema}.strunk_queue_states($1::text[], $2::integer, false) s`

// counted are some queues with their tasks counted anew: those of state are not counted for it.
func (c *call) counted(queues []Queue) ([]Queue, error) {
	names := make([]string, 0, len(queues))
	for _, q := range queues {
		names = append(names, q.Name)
	}
	var found []Queue
	if err := ask(c.ctx, c.box, many(&found, sqlQueuesNamed, []any{names, ListCountCap}, scanQueue)); err != nil {
		return nil, wrap("queues", err)
	}
	now := map[string]Queue{}
	for _, q := range found {
		now[q.Name] = q
	}
	all := slices.Clone(queues)
	for i, q := range all {
		if again, there := now[q.Name]; there {
			all[i] = again
		}
	}
	return all, nil
}

// rows counts some queues anew, and adds what happened to them.
func (c *call) rows(queues []Queue, t trends) ([]queueRow, error) {
	again, err := c.counted(queues)
	rows := make([]queueRow, 0, len(again))
	for _, q := range again {
		rows = append(rows, newQueueRow(q, t, c.s.cfg.Thresholds))
	}
	return rows, err
}

func newQueueRow(q Queue, t trends, limits Thresholds) queueRow {
	st := q.State(limits)
	return queueRow{Queue: q, Queued: t.queues[q.Name], Over: t.over(), State: st, Class: st.class()}
}
