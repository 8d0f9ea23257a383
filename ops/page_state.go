package ops

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

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
	window, step := of.window.Microseconds(), int(of.step.Seconds())
	when := one(sqlRatesSpan, []any{window, step}, &to, &from)
	var all, queues []countedStep
	if name == "" {
		err = ask(ctx, box, when, many(&all, sqlStepsOfAll, []any{window, step}, scanStepOfAll),
			many(&queues, sqlStepsOfEach, []any{window, step}, scanStepOfEach))
	} else {
		err = ask(ctx, box, when, many(&all, sqlRates, []any{core.CountersOfQueue, name, "", MaxLimit, window, step},
			scanCountedStep))
		queues = all
	}
	return newTrends(all, queues, from, to, of.step), wrap("page", err)
}

// Both statements read the counters of queues in the last $1 microseconds, in steps of $2 seconds, and lock nothing.
// strunk_count_steps would sum the histograms of each queue, which no view of all queues shows.
var (
	// sqlStepsOfAll sums those of all queues.
	sqlStepsOfAll = `SELECT to_timestamp(x.step * $2::integer), sum(x.enqueued)::bigint, sum(x.done)::bigint,
	sum(x.failed)::bigint, sum(x.waits_us)::bigint, ` + sumOfWaits() + stepsOfQueues + `GROUP BY x.step`
	// sqlStepsOfEach reads what is done and has failed of each.
	sqlStepsOfEach = `SELECT x.name, to_timestamp(x.step * $2::integer), sum(x.done)::bigint, sum(x.failed)::bigint
` + stepsOfQueues + `GROUP BY x.name, x.step`
)

const stepsOfQueues = `
FROM (SELECT floor(extract(epoch FROM c.minute) / $2::integer) AS step, c.* FROM {schema}.strunk_counters c
	WHERE c.in_totals IN (true, false) AND c.kind = 'queue'
	AND c.minute >= {schema}.strunk_count_from($1::bigint * interval '1 microsecond', $2::integer)) x
`

func sumOfWaits() string {
	var sums []string
	for i := range core.HistogramBuckets {
		sums = append(sums, fmt.Sprintf("sum(x.waits[%d])::bigint", i+1))
	}
	return "ARRAY[" + strings.Join(sums, ", ") + "]"
}

func scanStepOfAll(rows pgx.Rows) (s countedStep, err error) {
	return s, rows.Scan(&s.at, &s.enqueued, &s.done, &s.failed, &s.waits.micros, &s.waits.buckets)
}

func scanStepOfEach(rows pgx.Rows) (s countedStep, err error) {
	return s, rows.Scan(&s.name, &s.at, &s.done, &s.failed)
}

// newTrends makes trends of the steps of all queues together and of those of each, which may be in any order.
func newTrends(ofAll, ofEach []countedStep, from, to time.Time, step time.Duration) trends {
	t := trends{steps: max(int(to.Sub(from)/step), 0), step: step, queues: map[string]queueTrend{}}
	all, totals := make([]countedStep, t.steps), map[string]*countedStep{}
	place := func(s countedStep) (i int, within bool) {
		i = int(s.at.Sub(from) / step)
		return i, i >= 0 && i < t.steps
	}
	for _, r := range ofAll {
		if i, within := place(r); within {
			all[i].add(r.counted)
		}
	}
	for _, r := range ofEach {
		i, within := place(r)
		if !within {
			continue
		}
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

// stateAndTrends are asked for at once: each looks at all queues.
func (c *call) stateAndTrends(over string) (st state, t trends, err error) {
	var asked sync.WaitGroup
	var trendsErr error
	asked.Go(func() { t, trendsErr = c.s.trends[over].get(c.ctx) })
	st, err = c.s.state.get(c.ctx)
	asked.Wait()
	return st, t, cmp.Or(err, trendsErr)
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
