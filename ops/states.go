package ops

import (
	"cmp"
	"slices"
)

// State says in a word or two what matters most about a queue, a subscriber, a forwarder or a process. The page and
// the program strunk show the same words.
type State string

// States of queues, the worst first.
const (
	// StateNoWorker is a queue that has tasks to begin and that no process works.
	StateNoWorker State = "no worker"
	// StateBehind is a queue whose first task has waited longer than Thresholds.OldestPending, or a subscriber whose
	// first event is older than Thresholds.SubscriberLag.
	StateBehind State = "behind"
	// StatePaused is a queue or a subscriber that somebody has paused.
	StatePaused State = "paused"
	// StateOnHold is a queue that begins nothing before the end of its hold.
	StateOnHold State = "on hold"
	// StateWorking is a queue with tasks that wait or run.
	StateWorking State = "working"
	// StateIdle is a queue in which nothing waits or runs.
	StateIdle State = "idle"
)

// States of subscribers, forwarders and processes.
const (
	// StateNeedsRestart is a subscriber that has stopped because events were dropped that it has not handled.
	StateNeedsRestart State = "needs a restart"
	// StateBlocked is a subscriber that goes on only when the event it stands at has been handled or skipped.
	StateBlocked State = "blocked"
	// StateExpired is a process whose lease has ended: its tasks are given back.
	StateExpired State = "expired"
	// StateFailing is a subscriber of which some events fail, or a forwarder whose destination takes nothing.
	StateFailing State = "failing"
	// StateNotRunning is a subscriber or a forwarder that no process runs.
	StateNotRunning State = "not running"
	// StateSilent is a process, or a subscriber's, that has missed heartbeats.
	StateSilent State = "silent"
	// StateBootstrapping is a subscriber that is given the snapshots before the events that follow them.
	StateBootstrapping State = "bootstrapping"
	// StateRunning is everything else.
	StateRunning State = "running"
)

// queueStates are the states of queues, the worst first.
var queueStates = []State{StateNoWorker, StateBehind, StatePaused, StateOnHold, StateWorking, StateIdle}

// State is the worst that is true of the queue. Of t it takes OldestPending; a zero field is its default.
func (q Queue) State(t Thresholds) State {
	t = t.withDefaults()
	switch {
	case q.PausedAt != nil:
		return StatePaused
	case q.HeldUntil != nil:
		return StateOnHold
	case q.WaitingSince != nil && q.Workers == 0:
		return StateNoWorker
	case q.WaitingFor.Duration > t.OldestPending:
		return StateBehind
	case q.WaitingSince != nil || q.Claimed.N > 0:
		return StateWorking
	}
	return StateIdle
}

// WorstFirst returns queues in the order in which they need somebody: by their state, then by how long the first task
// has waited, then by how many are dead and how many wait, then by name.
func WorstFirst(queues []Queue, t Thresholds) []Queue {
	sorted := slices.Clone(queues)
	slices.SortStableFunc(sorted, func(a, b Queue) int {
		return cmp.Or(cmp.Compare(slices.Index(queueStates, a.State(t)), slices.Index(queueStates, b.State(t))),
			cmp.Compare(b.WaitingFor.Duration, a.WaitingFor.Duration), cmp.Compare(b.Dead.N, a.Dead.N),
			cmp.Compare(b.Pending.N, a.Pending.N), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}

// State is the worst that is true of the subscriber. Of t it takes SubscriberLag; a zero field is its default.
func (s Subscriber) State(t Thresholds) State {
	t = t.withDefaults()
	switch {
	case s.NeedsRestart:
		return StateNeedsRestart
	case s.Blocked != nil:
		return StateBlocked
	case s.Paused:
		return StatePaused
	case s.Owner == "":
		return StateNotRunning
	case s.Silent:
		return StateSilent
	case s.Deliveries.N > 0:
		return StateFailing
	case s.Bootstrapping:
		return StateBootstrapping
	case s.Lag.Duration > t.SubscriberLag:
		return StateBehind
	}
	return StateRunning
}

// State is the worst that is true of the forwarder.
func (f Forwarder) State() State {
	switch {
	case f.FailingFor != nil:
		return StateFailing
	case !f.Running:
		return StateNotRunning
	}
	return StateRunning
}

// State is the worst that is true of the process's workers.
func (p Process) State() State {
	state := StateRunning
	for _, w := range p.Workers {
		switch {
		case w.Expired:
			return StateExpired
		case w.Silent:
			state = StateSilent
		}
	}
	return state
}

// class is how bad a state is, as the page marks it: bad, warn, calm or empty.
func (s State) class() string {
	switch s {
	case StateNoWorker, StateNeedsRestart, StateBlocked, StateExpired:
		return "bad"
	case StateBehind, StateFailing, StateNotRunning, StateSilent:
		return "warn"
	case StatePaused, StateOnHold:
		return "calm"
	}
	return ""
}
