package ops

import (
	"fmt"
	"strings"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// maxNamed is how many queues or subscribers a message names.
const maxNamed = 5

func (f *facts) report(t Thresholds) Report {
	r := Report{At: f.now, Status: StatusOK}
	f.partitions(&r)
	var relay *int64
	if f.relaySince != nil {
		us := f.now.Sub(*f.relaySince).Microseconds()
		relay = &us
	}
	f.loop(&r, t, CheckRelay, string(outbox.LoopRelay), relay, "an event has waited for the relay for %v")
	f.loop(&r, t, CheckPromoter, string(outbox.LoopPromoter), f.promoterFor, "a scheduled task is overdue by %v")
	f.loop(&r, t, CheckRescue, string(outbox.LoopRescue), f.rescueFor,
		"a worker has been silent for %v beyond its lease, and its tasks were not given back")
	f.scheduler(&r, t)
	f.loop(&r, t, CheckReaper, string(outbox.LoopReaper), nil, "")
	f.counter(&r, t)
	f.checkQueues(&r, t)
	f.checkSubscribers(&r, t)
	f.checkForwarders(&r, t)
	f.outcomes(&r)
	f.horizon(&r, t)
	f.notifyQueue(&r, t)
	return r
}

func (f *facts) partitions(r *Report) {
	today := f.now.UTC().Format(time.DateOnly)
	for _, day := range f.missingDays {
		if day == today {
			r.add(CheckPartitions, StatusFail, "today's partition of delivered tasks is missing, and no task can "+
				"be completed; run the reaper, or SELECT strunk_ensure_task_partitions()")
			return
		}
	}
	switch {
	case len(f.missingDays) > 0:
		r.add(CheckPartitions, StatusWarn, "tomorrow's partition of delivered tasks is missing; a process must "+
			"run the reaper")
	case !f.feedAhead:
		r.add(CheckPartitions, StatusWarn, "the feed has no partition ahead; a process must run the reaper")
	default:
		r.add(CheckPartitions, StatusOK, "partitions are there for today and tomorrow, and ahead of the feed")
	}
}

// loop judges a loop by the work it leaves lying (microseconds; nil: none), and where there is none by its record.
func (f *facts) loop(r *Report, t Thresholds, check, loop string, lying *int64, what string) {
	if lying != nil && micros(*lying).Duration > t.LoopDelay {
		r.add(check, StatusFail, what+"; %s", short(micros(*lying).Duration), f.record(loop))
		return
	}
	s, known := f.loops[loop]
	switch {
	case !known || s.Behind():
		r.add(check, StatusWarn, "%s", f.record(loop))
	default:
		r.add(check, StatusOK, "%s", f.record(loop))
	}
}

// record says in words what is known of a loop.
func (f *facts) record(loop string) string {
	s, known := f.loops[loop]
	switch {
	case !known || s.Age < 0 && s.LastError == "":
		return "it has never run: no process runs it, see outbox.Config.Disable and Box.Run"
	case s.Age < 0:
		return "it has never succeeded: " + s.LastError
	case s.Behind() && s.LastErrorAt.After(s.LastOK):
		return fmt.Sprintf("it last succeeded %v ago, and fails: %s", short(s.Age), s.LastError)
	}
	return fmt.Sprintf("it last ran %v ago, in %s", short(s.Age), s.By)
}

func (f *facts) scheduler(r *Report, t Thresholds) {
	if f.schedules == 0 {
		r.add(CheckScheduler, StatusOK, "there are no enabled schedules")
		return
	}
	f.loop(r, t, CheckScheduler, "scheduler", f.schedulerFor,
		"a schedule is late by %v: a process must run schedule.Runner")
}

// counter judges by the age of the numbers: a pass that took long is followed by the next one late.
func (f *facts) counter(r *Report, t Thresholds) {
	switch {
	case f.countedFor == nil:
		r.add(CheckCounter, StatusWarn, "nobody has counted yet, so that large numbers are lower bounds; %s",
			f.record(string(outbox.LoopCounter)))
	case micros(*f.countedFor).Duration > t.CountsAge:
		r.add(CheckCounter, StatusWarn, "large numbers are %v old; %s", short(micros(*f.countedFor).Duration),
			f.record(string(outbox.LoopCounter)))
	default:
		r.add(CheckCounter, StatusOK, "large numbers are %v old", short(micros(*f.countedFor).Duration))
	}
}

// checkQueues tells queues that nobody works from those that are behind. A queue that is paused or on
// hold waits because it was told to.
func (f *facts) checkQueues(r *Report, t Thresholds) {
	var idle, late, paused names
	for _, q := range f.queues {
		if q.WaitingFor.Duration <= t.OldestPending {
			continue
		}
		switch {
		case q.PausedAt != nil, q.HeldUntil != nil:
			paused = append(paused, q.stopped())
		case q.Workers == 0:
			idle.add(q.Name, q.WaitingFor.Duration)
		default:
			late.add(q.Name, q.WaitingFor.Duration)
		}
	}
	if idle != nil {
		r.add(CheckWorkers, StatusFail, "tasks wait and no worker runs for: %v", idle)
	} else {
		r.add(CheckWorkers, StatusOK, "every queue whose tasks have waited for %v has a worker", t.OldestPending)
	}
	switch {
	case late != nil || idle != nil:
		r.add(CheckQueues, StatusFail, "the oldest pending task is older than %v: %v", t.OldestPending,
			append(late, idle...))
	case f.paused != nil:
		r.add(CheckQueues, StatusWarn, "all queues are paused since %s by %s%s; strunk resume --all",
			f.paused.Since.UTC().Format(time.RFC3339), f.paused.By, why(f.paused.Reason))
	case paused != nil:
		r.add(CheckQueues, StatusWarn, "tasks wait in queues that are paused or on hold: %v", paused)
	case len(f.queues) == MaxLimit:
		r.add(CheckQueues, StatusWarn, "only the first %d queues were looked at", MaxLimit)
	default:
		r.add(CheckQueues, StatusOK, "no pending task is older than %v", t.OldestPending)
	}
}

func (f *facts) checkSubscribers(r *Report, t Thresholds) {
	var stopped, lagging, paused names
	for _, s := range f.subscribers {
		switch {
		case s.NeedsRestart:
			stopped.add(s.Name, s.Lag.Duration)
		case s.Lag.Duration <= t.SubscriberLag:
		case s.Paused:
			paused.add(s.Name, s.Lag.Duration)
		default:
			lagging.add(s.Name, s.Lag.Duration)
		}
	}
	switch {
	case stopped != nil:
		r.add(CheckSubscribers, StatusFail, "events were dropped before these had them; replay or reset them: %v",
			stopped)
	case lagging != nil:
		r.add(CheckSubscribers, StatusFail, "behind by more than %v: %v", t.SubscriberLag, lagging)
	case paused != nil:
		r.add(CheckSubscribers, StatusWarn, "events wait for paused subscribers: %v", paused)
	case len(f.subscribers) == MaxLimit:
		r.add(CheckSubscribers, StatusWarn, "only the first %d subscribers were looked at", MaxLimit)
	default:
		r.add(CheckSubscribers, StatusOK, "no subscriber is behind by more than %v", t.SubscriberLag)
	}
}

// checkForwarders tells destinations that take nothing from messages that one of them refuses. How
// far a forwarder is behind is said of its subscriber or queue.
func (f *facts) checkForwarders(r *Report, t Thresholds) {
	var failing, hiccup, parked names
	for _, o := range f.forwarders {
		switch {
		case o.FailingFor != nil && o.FailingFor.Duration > t.LoopDelay:
			failing = append(failing, fmt.Sprintf("%q to %s for %v: %s", o.Name, o.Destination,
				short(o.FailingFor.Duration), o.Error))
		case o.FailingFor != nil:
			hiccup.add(o.Name, o.FailingFor.Duration)
		}
		if o.Deliveries.N > 0 {
			parked = append(parked, fmt.Sprintf("%q", o.Name))
		}
	}
	switch {
	case failing != nil:
		r.add(CheckForwarders, StatusFail, "destinations take nothing: %v", failing)
	case parked != nil:
		r.add(CheckForwarders, StatusWarn, "messages were refused and their entities are parked, see strunk parked: %v",
			parked)
	case hiccup != nil:
		r.add(CheckForwarders, StatusWarn, "destinations take nothing at the moment: %v", hiccup)
	default:
		r.add(CheckForwarders, StatusOK, "every destination takes what it is sent")
	}
}

func (f *facts) horizon(r *Report, t Thresholds) {
	var oldest *Horizon
	unseen := false
	for i, h := range f.holders {
		if h.OpenFor == nil {
			unseen = unseen || h.Holder == "session"
		} else if oldest == nil || h.OpenFor.Duration > oldest.OpenFor.Duration {
			oldest = &f.holders[i]
		}
	}
	switch {
	case oldest != nil && oldest.OpenFor.Duration > t.Horizon:
		r.add(CheckHorizon, StatusWarn, "the %s %q%s has been open for %v: dead rows cannot be cleaned up meanwhile",
			oldest.Holder, oldest.Name, pid(oldest), short(oldest.OpenFor.Duration))
	case unseen:
		r.add(CheckHorizon, StatusOK, "%d transactions have begun since the oldest one that is open; for its age "+
			"GRANT pg_read_all_stats to this role", f.holders[0].Transactions)
	default:
		r.add(CheckHorizon, StatusOK, "no transaction has been open for more than %v", t.Horizon)
	}
}

func pid(h *Horizon) string {
	if h.PID == nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", *h.PID)
}

func (f *facts) notifyQueue(r *Report, t Thresholds) {
	status := StatusOK
	if f.notify > t.NotifyUsage {
		status = StatusFail
	}
	r.add(CheckNotify, status, "PostgreSQL's queue of notifications is %.1f %% full", 100*f.notify)
}

// outcomes names tasks that were set aside.
func (f *facts) outcomes(r *Report) {
	if len(f.isolated) == 0 {
		r.add(CheckOutcomes, StatusOK, "every outcome of a task could be stored")
		return
	}
	var found names
	for _, i := range f.isolated {
		found = append(found, fmt.Sprintf("%q (%d, the latest is task %d)", i.Queue, i.Tasks, i.Latest))
	}
	r.add(CheckOutcomes, StatusWarn, "tasks are dead letters because the database refused their outcomes; their last "+
		"errors say why. Look for more of the kind (strunk doctor), then retry or purge them: %v", found)
}

// stopped says who has stopped a queue, and why.
func (q Queue) stopped() string {
	waits := fmt.Sprintf("%q (%v", q.Name, short(q.WaitingFor.Duration))
	if q.PausedAt == nil {
		return waits + ", on hold)"
	}
	return fmt.Sprintf("%s, paused by %s%s)", waits, q.PausedBy, why(q.PauseReason))
}

// why adds a reason, where there is one.
func why(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// names are queues or subscribers with what is to be said of each.
type names []string

func (n *names) add(name string, d time.Duration) {
	*n = append(*n, fmt.Sprintf("%q (%v)", name, short(d)))
}

// String names the first few.
func (n names) String() string {
	if len(n) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(n[:maxNamed], ", "), len(n)-maxNamed)
	}
	return strings.Join(n, ", ")
}

func short(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
