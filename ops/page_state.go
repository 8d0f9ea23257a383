package ops

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// state is the whole installation: what views, metrics and live updates show. A handler asks for it at most once in
// Config.Refresh.
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
	// keepGroups is how old error groups may be, which look at much.
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
	s.state.ask = stateOf(s.box, s.cfg.Thresholds)
	s.state.keep = s.cfg.Refresh
	s.trends = map[string]*cached[trends]{}
	for name, span := range spans {
		s.trends[name] = &cached[trends]{keep: span.keep, ask: func(ctx context.Context) (trends, error) {
			return askTrends(ctx, s.box, span, "")
		}}
	}
}

// stateOf returns what asks for the state of an installation.
func stateOf(box *outbox.Box, t Thresholds) func(context.Context) (state, error) {
	return func(ctx context.Context) (state, error) { return askState(ctx, box, t) }
}

func askState(ctx context.Context, box *outbox.Box, t Thresholds) (st state, err error) {
	if st.facts, err = gather(ctx, box); err != nil {
		return st, wrap("state", err)
	}
	err = ask(ctx, box, overallQuestion(&st.overall), many(&st.fresh, sqlErrorGroups,
		[]any{orNull(""), time.Hour.Microseconds(), true, maxGroups}, scanErrorGroup))
	st.overall.Paused, st.report = st.paused, st.facts.report(t)
	return st, wrap("state", err)
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

// trends are what happened lately to all queues together, or to one.
type trends struct {
	steps int
	step  time.Duration
	from  time.Time
	all   []QueueStep
}

// queueTrend is what happened to one queue lately.
type queueTrend struct {
	Total QueueStep
	// Done and Failed count by the step.
	Done, Failed []float64
}

// askTrends asks for the steps of one queue, or of all together. The last step is not over: it is left out.
func askTrends(ctx context.Context, box *outbox.Box, of span, name string) (trends, error) {
	var from, to time.Time
	var steps []countedStep
	window, step := of.window.Microseconds(), int(of.step.Seconds())
	counted := many(&steps, sqlStepsOfAll, []any{window, step}, scanStepOfAll)
	if name != "" {
		counted = many(&steps, sqlRates, []any{core.CountersOfQueue, name, "", MaxLimit, window, step}, scanCountedStep)
	}
	err := ask(ctx, box, one(sqlRatesSpan, []any{window, step}, &to, &from), counted)
	return newTrends(steps, from, to, of.step), wrap("page", err)
}

// sqlStepsOfAll sums the counters of all queues in the last $1 microseconds, in steps of $2 seconds: those that are
// folded by the step, and what is not folded yet. It locks nothing.
var sqlStepsOfAll = `SELECT x.at, sum(x.enqueued)::bigint, sum(x.done)::bigint, sum(x.failed)::bigint,
	sum(x.waits_us)::bigint, ` + sumOfWaits() + `
FROM (
	SELECT date_bin($2::integer * interval '1 second', s.began_at, to_timestamp(0)) AS at, s.enqueued, s.done,
		s.failed, s.waits_us, s.waits
	FROM {schema}.strunk_counter_sums s
	WHERE s.kind = 'queue' AND s.span_s = {schema}.strunk_count_span($2::integer) AND s.name = ''
		AND s.began_at >= {schema}.strunk_count_from($1::bigint * interval '1 microsecond', $2::integer)
	UNION ALL
	SELECT date_bin($2::integer * interval '1 second', c.minute, to_timestamp(0)), c.enqueued, c.done, c.failed,
		c.waits_us, c.waits
	FROM {schema}.strunk_counters c WHERE NOT c.in_totals AND c.kind = 'queue'
		AND c.minute >= {schema}.strunk_count_from($1::bigint * interval '1 microsecond', $2::integer)) x
GROUP BY x.at`

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

// newTrends makes trends of steps, which may be in any order.
func newTrends(steps []countedStep, from, to time.Time, step time.Duration) trends {
	t := trends{steps: max(int(to.Sub(from)/step), 0), step: step, from: from}
	all := make([]countedStep, t.steps)
	for _, s := range steps {
		if i, within := t.place(s.at); within {
			all[i].add(s.counted)
		}
	}
	for i := range all {
		all[i].at = from.Add(time.Duration(i) * step)
		t.all = append(t.all, all[i].ofQueue())
	}
	return t
}

// place is which step a time is in.
func (t trends) place(at time.Time) (i int, within bool) {
	i = int(at.Sub(t.from) / t.step)
	return i, i >= 0 && i < t.steps
}

// queue is the trend of the one queue that t is of.
func (t trends) queue() (q queueTrend) {
	for _, s := range t.all {
		q.Total.Done, q.Total.Failed = q.Total.Done+s.Done, q.Total.Failed+s.Failed
		q.Done, q.Failed = append(q.Done, float64(s.Done)), append(q.Failed, float64(s.Failed))
	}
	q.Total.FailedShare = failedShare(q.Total.Failed, q.Total.Done)
	return q
}

// sqlStepsOfEach reads how many tasks of the queues $1 were done, and how many attempts failed, in the last $2
// microseconds in steps of $3 seconds. It locks nothing.
const sqlStepsOfEach = `SELECT c.name, date_bin($3::integer * interval '1 second', c.began_at, to_timestamp(0)),
	sum(c.done)::bigint, sum(c.failed)::bigint
FROM {schema}.strunk_counter_spans c
WHERE c.span_s = {schema}.strunk_count_span($3::integer) AND c.kind = 'queue' AND c.name = ANY ($1::text[])
	AND c.began_at >= {schema}.strunk_count_from($2::bigint * interval '1 microsecond', $3::integer)
GROUP BY 1, 2`

// stepOfOne is what happened to a queue in one step.
type stepOfOne struct {
	name         string
	at           time.Time
	done, failed int64
}

func scanStepOfOne(rows pgx.Rows) (s stepOfOne, err error) {
	return s, rows.Scan(&s.name, &s.at, &s.done, &s.failed)
}

// queueTrends are those of each queue, over the steps of t.
func (t trends) queueTrends(steps []stepOfOne) map[string]queueTrend {
	all := map[string]queueTrend{}
	for _, s := range steps {
		i, within := t.place(s.at)
		if !within {
			continue
		}
		q := all[s.name]
		if q.Done == nil {
			q.Done, q.Failed = make([]float64, t.steps), make([]float64, t.steps)
		}
		q.Done[i], q.Failed[i] = float64(s.done), float64(s.failed)
		q.Total.Done, q.Total.Failed = q.Total.Done+s.done, q.Total.Failed+s.failed
		q.Total.FailedShare = failedShare(q.Total.Failed, q.Total.Done)
		all[s.name] = q
	}
	return all
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

// stateAndTrends are asked for at once.
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

// rows counts the tasks of some queues anew, since those of state are not counted, and adds what happened to them in
// the last hour.
func (c *call) rows(queues []Queue) ([]queueRow, error) {
	names := namesOf(queues)
	var found []Queue
	var steps []stepOfOne
	var from, to time.Time
	of := spans["hour"]
	window, step := of.window.Microseconds(), int(of.step.Seconds())
	err := ask(c.ctx, c.box, one(sqlRatesSpan, []any{window, step}, &to, &from),
		many(&found, sqlQueuesNamed, []any{names, ListCountCap}, scanQueue),
		many(&steps, sqlStepsOfEach, []any{names, window, step}, scanStepOfOne))
	t := newTrends(nil, from, to, of.step)
	trend := t.queueTrends(steps)
	rows := make([]queueRow, 0, len(found))
	for _, q := range found { // in the order in which they were named
		rows = append(rows, newQueueRow(q, trend[q.Name], t.over(), c.s.cfg.Thresholds))
	}
	return rows, wrap("queues", err)
}

func newQueueRow(q Queue, t queueTrend, over time.Duration, limits Thresholds) queueRow {
	st := q.State(limits)
	return queueRow{Queue: q, Queued: t, Over: over, State: st, Class: st.class()}
}
