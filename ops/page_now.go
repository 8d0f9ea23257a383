package ops

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// nowShown is what Now shows.
type nowShown struct {
	Needs []need
	// Fine is the line of what is fine.
	Fine       string
	Over, Last string
	Plots      []plot
	Queues     []queueRow
	// AllQueues is how many there are.
	AllQueues int
}

// need is something that needs a person.
type need struct {
	// Class is how bad it is: bad, warn or calm.
	Class string
	// Title says what it is, Detail what more is known.
	Title, Detail string
	// Action is what to do, Link where. Change says that who may not change cannot follow it.
	Action, Link string
	Change       bool
}

// plot is a line of values with what it is now.
type plot struct {
	Title, Now string
	// Bad says that high is bad.
	Bad    bool
	Values []float64
	// Texts are the values as the reader sees them, of the steps from From on; High is the highest.
	Texts []string
	High  string
	From  time.Time
	Step  time.Duration
}

// To is when the last step begins.
func (p plot) To() time.Time { return p.From.Add(time.Duration(len(p.Values)-1) * p.Step) }

// Said are Texts as an attribute.
func (p plot) Said() string { return strings.Join(p.Texts, "|") }

// worstQueues is how many queues Now shows.
const worstQueues = 10

func nowView(c *call) (any, error) {
	over, span, err := c.over()
	if err != nil {
		return nil, err
	}
	st, t, err := c.stateAndTrends(over)
	if err != nil {
		return nil, err
	}
	v := nowShown{Needs: st.needs(c.s.cfg.Thresholds), Fine: fine(st.report), Over: over, Last: span.last,
		Plots: t.plots(), AllQueues: len(st.queues)}
	worst := WorstFirst(st.queues, c.s.cfg.Thresholds)
	v.Queues, err = c.rows(worst[:min(worstQueues, len(worst))])
	return v, err
}

// plots are the four of Now.
func (t trends) plots() []plot {
	all := []plot{{Title: "Enqueued"}, {Title: "Done"}, {Title: "Failed attempts", Bad: true},
		{Title: "Wait, p95", Bad: true}}
	for _, s := range t.all {
		wait := "–"
		if s.Wait.N > 0 {
			wait = age(s.Wait.P95)
		}
		all[0].add(float64(s.Enqueued), perSecond(s.Enqueued, t.step))
		all[1].add(float64(s.Done), perSecond(s.Done, t.step))
		all[2].add(float64(s.Failed), perSecond(s.Failed, t.step))
		all[3].add(s.Wait.P95.Seconds(), wait)
	}
	for i := range all {
		all[i].finish(t.from, t.step)
	}
	return all
}

// add adds the value of the next step.
func (p *plot) add(value float64, text string) {
	p.Values, p.Texts = append(p.Values, value), append(p.Texts, text)
}

// finish says of when the steps are, which is the last, and which the highest.
func (p *plot) finish(from time.Time, step time.Duration) {
	p.From, p.Step, p.Now = from, step, "–"
	if len(p.Values) == 0 {
		return
	}
	p.Now = p.Texts[len(p.Texts)-1]
	if high := slices.Max(p.Values); high > 0 {
		p.High = p.Texts[slices.Index(p.Values, high)]
	}
}

// fine says which checks are.
func fine(r Report) string {
	var ok []string
	for _, c := range r.Checks {
		if c.Status == StatusOK {
			ok = append(ok, c.Name)
		}
	}
	if len(ok) == 0 {
		return fmt.Sprintf("None of %d checks is fine.", len(r.Checks))
	}
	return fmt.Sprintf("%d of %d checks are fine: %s.", len(ok), len(r.Checks), strings.Join(ok, ", "))
}

// needs are what needs a person, the worst first.
func (st *state) needs(t Thresholds) []need {
	all := slices.Concat(st.queueNeeds(t), st.subscriberNeeds(), st.checkNeeds(), st.errorNeeds())
	order := []string{"bad", "warn", "calm"}
	slices.SortStableFunc(all, func(a, b need) int {
		return slices.Index(order, a.Class) - slices.Index(order, b.Class)
	})
	return all
}

// wrong is how many things are wrong, and how bad the worst of them is. What was stopped on purpose, and what waits for
// a decision, is not wrong.
func (st *state) wrong(t Thresholds) (n int64, class string) {
	for _, need := range st.needs(t) {
		if need.Class != "calm" {
			n, class = n+1, cmp.Or(class, need.Class)
		}
	}
	return n, class
}

// queueNeeds are of queues: without a worker, behind, paused by hand, on hold.
func (st *state) queueNeeds(t Thresholds) (all []need) {
	by := map[State][]Queue{}
	for _, q := range WorstFirst(st.queues, t) {
		by[q.State(t)] = append(by[q.State(t)], q)
	}
	if q := by[StateNoWorker]; len(q) > 0 {
		all = append(all, need{Class: "bad", Title: these(len(q), "queue has tasks and no process works it",
			"queues have tasks and no process works them"), Detail: "The oldest task has waited for " +
			age(q[0].WaitingFor) + ": " + queueNames(q), Action: "Show", Link: "queues?state=no+worker"})
	}
	if q := by[StateBehind]; len(q) > 0 {
		all = append(all, need{Class: "warn", Title: these(len(q), "queue is behind", "queues are behind"),
			Detail: "The oldest task has waited for " + age(q[0].WaitingFor) + ": " + queueNames(q), Action: "Show",
			Link: "queues?state=behind"})
	}
	if p := st.paused; p != nil {
		return append(all, need{Class: "warn", Title: "All queues are paused", Detail: stoppedBy(p.By, p.Reason,
			st.now.Sub(p.Since)), Action: "Resume …", Link: "confirm?op=resume_all_queues", Change: true})
	}
	if q := by[StatePaused]; len(q) > 0 {
		n := need{Class: "calm", Title: these(len(q), "queue is paused by hand", "queues are paused by hand"),
			Detail: queueNames(q) + " · " + stoppedBy(q[0].PausedBy, q[0].PauseReason, st.now.Sub(*q[0].PausedAt)),
			Action: "Show", Link: "queues?state=paused"}
		if len(q) == 1 {
			n.Action, n.Change = "Resume …", true
			n.Link = "confirm?op=resume_queue&queue=" + url.QueryEscape(q[0].Name)
		}
		all = append(all, n)
	}
	if q := by[StateOnHold]; len(q) > 0 {
		all = append(all, need{Class: "calm", Title: these(len(q), "queue is on hold", "queues are on hold"),
			Detail: queueNames(q), Action: "Show", Link: "queues?state=on+hold"})
	}
	return all
}

// stoppedBy says who has paused it, when and why.
func stoppedBy(by, reason string, ago time.Duration) string {
	text := "by " + by + ", " + age(ago) + " ago"
	if reason != "" {
		text += ": “" + reason + "”"
	}
	return text
}

// these says of how many something holds.
func these(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// shownNames is how many names a sentence has.
const shownNames = 3

func queueNames(queues []Queue) string { return firstNames(namesOf(queues)) }

func namesOf(queues []Queue) []string {
	all := make([]string, len(queues))
	for i, q := range queues {
		all[i] = q.Name
	}
	return all
}

func firstNames(all []string) string {
	if len(all) > shownNames {
		return fmt.Sprintf("%s and %s more", strings.Join(all[:shownNames], ", "), grouped(len(all)-shownNames))
	}
	return strings.Join(all, ", ")
}

// subscriberNeeds are of subscribers that are blocked, must be restarted, or have deliveries that fail.
func (st *state) subscriberNeeds() (all []need) {
	var blocked, stopped, parked []string
	for _, s := range st.subscribers {
		switch {
		case s.NeedsRestart:
			stopped = append(stopped, s.Name)
		case s.Blocked != nil:
			blocked = append(blocked, fmt.Sprintf("%s at %d (%s)", s.Name, s.Blocked.Position, clip(s.Blocked.Error)))
		case s.Deliveries.N > 0:
			parked = append(parked, s.Name)
		}
	}
	add := func(class, one, many string, names []string) {
		if len(names) > 0 {
			all = append(all, need{Class: class, Title: these(len(names), one, many), Detail: firstNames(names),
				Action: "Look", Link: "events"})
		}
	}
	add("bad", "subscriber has lost events: replay or reset it", "subscribers have lost events: replay or reset them",
		stopped)
	add("bad", "subscriber is blocked by one event", "subscribers are blocked by one event each", blocked)
	add("warn", "subscriber has deliveries that fail", "subscribers have deliveries that fail", parked)
	return all
}

// clipped is how much of an error a sentence shows.
const clipped = 80

func clip(text string) string {
	if r := []rune(text); len(r) > clipped {
		return string(r[:clipped]) + "…"
	}
	return text
}

// checkNeeds are checks of health that have no sentence of their own.
func (st *state) checkNeeds() (all []need) {
	own := []string{CheckWorkers, CheckQueues}
	for _, c := range st.report.Checks {
		if c.Status == StatusOK || slices.Contains(own, c.Name) {
			continue
		}
		n := need{Class: "warn", Title: "The check " + c.Name + " is not fine", Detail: c.Message, Action: "Look",
			Link: "database"}
		if c.Status == StatusFail {
			n.Class = "bad"
		}
		if c.Name == CheckSubscribers || c.Name == CheckForwarders {
			n.Link = "events"
		}
		all = append(all, n)
	}
	return all
}

// errorNeeds say what is new among the errors, and how many dead letters wait for a decision.
func (st *state) errorNeeds() []need {
	dead := st.overall.Dead
	n := need{Action: "Errors", Link: "errors"}
	switch {
	case len(st.fresh) > 0:
		n.Class = "warn"
		n.Title = these(len(st.fresh), "new kind of error in the last hour", "new kinds of error in the last hour")
		n.Detail = fmt.Sprintf("Most of them “%s”; %s dead letters in all", clip(st.fresh[0].Example), dead)
	case dead.N > 0:
		n.Class = "calm"
		n.Title = fmt.Sprintf("%s dead letters wait for a decision", dead)
		n.Detail = "No kind of error is new in the last hour"
	default:
		return nil
	}
	return []need{n}
}
