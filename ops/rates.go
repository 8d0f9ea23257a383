package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// DefaultRatesWindow is how far back Rates looks where RatesFilter.Window is zero.
	DefaultRatesWindow = time.Hour
	// MaxRatesWindow is how long counters are kept by the minute.
	MaxRatesWindow = 48 * time.Hour
	// DefaultRatesStep is the step where RatesFilter.Step is zero, and the shortest that there is.
	DefaultRatesStep = time.Minute
	// MaxRatesSteps bounds the steps of queues and subscribers together: Window/Step times Limit.
	MaxRatesSteps = 60_000
)

// RatesFilter chooses what Rates returns; the zero value is every queue and subscriber, the last hour by the minute.
type RatesFilter struct {
	// Queue or Subscriber chooses one; both empty means all of both.
	Queue, Subscriber string
	// Window is how far back to look: at most MaxRatesWindow; zero means DefaultRatesWindow.
	Window time.Duration
	// Step is how much time is taken together, whole minutes; zero means DefaultRatesStep.
	Step time.Duration
	// After is the last name of the page before, Limit how many queues and how many subscribers to return: at most
	// MaxLimit; zero means DefaultLimit.
	After string
	Limit int
}

// RatesReport is what was counted in a span of time.
type RatesReport struct {
	// From is when the first step begins, To when the database was asked: the last step is not over.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Step Duration  `json:"step_seconds"`
	// Queues and Subscribers are those that something was counted of, by name. Steps in which nothing was are left out.
	Queues      []QueueRates      `json:"queues"`
	Subscribers []SubscriberRates `json:"subscribers"`
}

// PerMinute is n over the whole span, for each minute.
func (r RatesReport) PerMinute(n int64) float64 {
	if span := r.To.Sub(r.From); span > 0 {
		return float64(n) / span.Minutes()
	}
	return 0
}

// QueueRates is what happened to the tasks of one queue.
type QueueRates struct {
	Queue string      `json:"queue"`
	Total QueueStep   `json:"total"`
	Steps []QueueStep `json:"steps"`
}

// QueueStep is what happened to a queue's tasks in one step, or in all.
type QueueStep struct {
	At time.Time `json:"at"`
	// Enqueued counts tasks that Go programs and schedules added: see docs/ops.md for how exactly.
	Enqueued int64 `json:"enqueued"`
	// Begun counts attempts that began, Done tasks that were done, Failed attempts that failed, and Retried those of
	// them after which the task is tried again.
	Begun   int64 `json:"begun"`
	Done    int64 `json:"done"`
	Failed  int64 `json:"failed"`
	Retried int64 `json:"retried"`
	// Dead, Cancelled and Discarded count tasks that ended so.
	Dead      int64 `json:"dead"`
	Cancelled int64 `json:"cancelled"`
	Discarded int64 `json:"discarded"`
	// FailedShare is the share of failed attempts among those that failed or were done, from 0 to 1.
	FailedShare float64 `json:"failed_share"`
	// Wait is from when tasks were due until they began: a delay and a backoff are not in it. Run is how long
	// handlers ran.
	Wait Spread `json:"wait"`
	Run  Spread `json:"run"`
}

// SubscriberRates is what happened to the events of one subscriber and entity type.
type SubscriberRates struct {
	Subscriber string           `json:"subscriber"`
	EntityType string           `json:"entity_type"`
	Total      SubscriberStep   `json:"total"`
	Steps      []SubscriberStep `json:"steps"`
}

// SubscriberStep is what happened to a subscriber's events in one step, or in all.
type SubscriberStep struct {
	At time.Time `json:"at"`
	// Handled counts events that were handled, Failed attempts that failed, Parked events whose entity was parked, and
	// Dead those that became dead letters.
	Handled int64 `json:"handled"`
	Failed  int64 `json:"failed"`
	Parked  int64 `json:"parked"`
	Dead    int64 `json:"dead"`
	// FailedShare is the share of failed attempts among those that failed or succeeded, from 0 to 1.
	FailedShare float64 `json:"failed_share"`
	// Wait is from the publication of events until a handler began them, Run how long handlers ran.
	Wait Spread `json:"wait"`
	Run  Spread `json:"run"`
}

// Rates returns what happened to tasks and events lately, as all processes have counted it. What a running process
// counts is here after five seconds; docs/ops.md says how exact it is. Errors: [ErrInvalid].
func Rates(ctx context.Context, box *outbox.Box, f RatesFilter) (r RatesReport, err error) {
	orDefault(&f.Window, DefaultRatesWindow)
	orDefault(&f.Step, DefaultRatesStep)
	if f.Limit, err = limit(f.Limit); err == nil {
		err = f.check()
	}
	if err == nil {
		err = ask(ctx, box, ratesQuestions(&r, f)...)
	}
	return r, wrap("rates", err)
}

func (f RatesFilter) check() error {
	names := int64(f.Limit)
	if f.Queue != "" || f.Subscriber != "" {
		names = 1
	}
	switch {
	case f.Queue != "" && f.Subscriber != "":
		return fmt.Errorf("RatesFilter: Queue and Subscriber exclude each other: %w", ErrInvalid)
	case f.Window < 0 || f.Window > MaxRatesWindow:
		return fmt.Errorf("RatesFilter.Window: %v is not from 0 to %v: %w", f.Window, MaxRatesWindow, ErrInvalid)
	case f.Step < time.Minute || f.Step%time.Minute != 0 || f.Step > MaxRatesWindow:
		return fmt.Errorf("RatesFilter.Step: %v is not in whole minutes, up to %v: %w", f.Step, MaxRatesWindow,
			ErrInvalid)
	case int64(f.Window/f.Step)*names > MaxRatesSteps:
		return fmt.Errorf("RatesFilter: %v in steps of %v are more than %d for up to %d queues: give one queue, a "+
			"lower Limit or a longer Step: %w", f.Window, f.Step, MaxRatesSteps, names, ErrInvalid)
	}
	return texts(f.Queue, f.Subscriber, f.After)
}

const (
	// sqlRatesSpan reads the time, and when the steps of $2 seconds begin that cover the last $1 microseconds.
	sqlRatesSpan = `SELECT now(), {schema}.strunk_count_from($1::bigint * interval '1 microsecond', $2::integer)`
	// sqlRates reads what was counted of kind $1, of name $2 (null: of $4 after the name $3), in the last $5
	// microseconds in steps of $6 seconds. It locks nothing.
	sqlRates = `SELECT s.name, s.entity_type, s.began_at, ` + countedColumns + `
FROM {schema}.strunk_count_steps($1::text, $2::text, $3::text, $4::integer, $5::bigint * interval '1 microsecond',
	$6::integer) s`
	// countedColumns are what counted scans.
	countedColumns = `s.enqueued, s.done, s.failed, s.retried, s.parked, s.dead, s.cancelled, s.discarded,
	s.waits_us, s.runs_us, s.waits, s.runs`
)

func ratesQuestions(r *RatesReport, f RatesFilter) []question {
	*r = RatesReport{Step: Duration{f.Step}, Queues: []QueueRates{}, Subscribers: []SubscriberRates{}}
	window, step := f.Window.Microseconds(), int(f.Step.Seconds())
	of := func(kind, name string, add func([]countedStep)) question {
		var steps []countedStep
		return many(&steps, sqlRates, []any{kind, orNull(name), f.After, f.Limit, window, step}, scanCountedStep).
			then(func() { add(steps) })
	}
	all := []question{one(sqlRatesSpan, []any{window, step}, &r.To, &r.From)}
	if f.Subscriber == "" {
		all = append(all, of(core.CountersOfQueue, f.Queue, r.addQueues))
	}
	if f.Queue == "" {
		all = append(all, of(core.CountersOfSubscriber, f.Subscriber, r.addSubscribers))
	}
	return all
}

// addQueues takes the steps of queues, in the order of names and times.
func (r *RatesReport) addQueues(steps []countedStep) {
	var total countedStep
	for i, s := range steps {
		if i == 0 || s.name != steps[i-1].name {
			r.Queues = append(r.Queues, QueueRates{Queue: s.name})
			total = countedStep{at: r.From}
		}
		q := &r.Queues[len(r.Queues)-1]
		q.Steps = append(q.Steps, s.ofQueue())
		total.add(s.counted)
		q.Total = total.ofQueue()
	}
}

// addSubscribers does the same for subscribers.
func (r *RatesReport) addSubscribers(steps []countedStep) {
	var total countedStep
	for i, s := range steps {
		if i == 0 || s.name != steps[i-1].name || s.entityType != steps[i-1].entityType {
			r.Subscribers = append(r.Subscribers, SubscriberRates{Subscriber: s.name, EntityType: s.entityType})
			total = countedStep{at: r.From}
		}
		sub := &r.Subscribers[len(r.Subscribers)-1]
		sub.Steps = append(sub.Steps, s.ofSubscriber())
		total.add(s.counted)
		sub.Total = total.ofSubscriber()
	}
}

// countedStep is one row of strunk_count_steps.
type countedStep struct {
	at time.Time
	counted
}

func scanCountedStep(rows pgx.Rows) (s countedStep, err error) {
	return s, rows.Scan(append([]any{&s.name, &s.entityType, &s.at}, s.columns()...)...)
}

func (s countedStep) ofQueue() QueueStep {
	return QueueStep{At: s.at, Enqueued: s.enqueued, Begun: s.waits.count(), Done: s.done, Failed: s.failed,
		Retried: s.retried, Dead: s.dead, Cancelled: s.cancelled, Discarded: s.discarded, FailedShare: s.failedShare(),
		Wait: s.waits.spread(), Run: s.runs.spread()}
}

func (s countedStep) ofSubscriber() SubscriberStep {
	return SubscriberStep{At: s.at, Handled: s.done, Failed: s.failed, Parked: s.parked, Dead: s.dead,
		FailedShare: s.failedShare(), Wait: s.waits.spread(), Run: s.runs.spread()}
}
