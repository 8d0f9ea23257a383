package queue

import (
	"fmt"
	"time"
)

// say renders a reason for people; now is the database's time.
func (r Reason) say(now time.Time) string {
	switch r.Cause {
	case CauseEnded:
		return fmt.Sprintf("the task has ended: %s%s", r.Name, r.ago(now))
	case CauseCancelling:
		return fmt.Sprintf("it is being cancelled%s: %s", r.ago(now), r.Name)
	case CauseRunning:
		return fmt.Sprintf("worker %s has it, attempt %d, claimed%s", r.Name, r.N, r.ago(now))
	case CauseWorkerLost:
		return r.sayLost(now)
	case CauseDueLater:
		return r.sayDue(now)
	case CausePromoterBehind:
		return fmt.Sprintf("it became due%s, and no process runs the promoter, or it is behind", r.ago(now))
	case CausePaused:
		return fmt.Sprintf("the queue was paused%s by %s", r.ago(now), orUnknown(r.Name))
	case CauseAllPaused:
		return fmt.Sprintf("all queues were paused%s by %s", r.ago(now), orUnknown(r.Name))
	case CauseHeld:
		return fmt.Sprintf("the queue is on hold, which ends%s, by %s", r.in(now), orUnknown(r.Name))
	case CauseKeyHeld:
		return fmt.Sprintf("its key is on hold, which ends%s, by %s", r.in(now), orUnknown(r.Name))
	case CauseNoWorker:
		return fmt.Sprintf("no process works the queue %q", r.Name)
	}
	return r.sayWaits(now)
}

// sayWaits is say for the causes of tasks that wait for other tasks.
func (r Reason) sayWaits(now time.Time) string {
	switch r.Cause {
	case CauseKeyHeldByDead:
		return fmt.Sprintf("dead letter %d keeps its key waiting%s: retry or purge it", r.TaskID, r.ago(now))
	case CauseKeyFull:
		return r.sayKeyFull(now)
	case CauseKeyRate:
		return "the rate of its key lets the next task begin" + r.in(now)
	case CauseBehindInKey:
		return first(r.N, "of its key")
	case CauseBehindInTurn:
		return fmt.Sprintf("its key waits its turn: %d before it", r.N)
	case CauseQueueFull:
		return fmt.Sprintf("the limit of the queue is used up: task %d runs, attempt %d, claimed%s", r.TaskID, r.N,
			r.ago(now))
	case CauseQueueRate:
		return "the rate of the queue lets the next task begin" + r.in(now)
	case CauseWorkersBusy:
		return fmt.Sprintf("all workers are busy: they handle %d at once", r.N)
	case CauseHigherPriority:
		return first(r.N, "of a higher priority")
	case CauseBehind:
		return first(r.N, "of its priority")
	}
	return string(r.Cause)
}

func (r Reason) sayLost(now time.Time) string {
	if r.Name == "" {
		return "a worker had it that is gone: the rescue will give it back"
	}
	return fmt.Sprintf("worker %s has it and was last heard of%s: the rescue will give it back", r.Name, r.ago(now))
}

func (r Reason) sayDue(now time.Time) string {
	if r.N == 0 {
		return "it is due" + r.in(now)
	}
	tried := "once"
	if r.N > 1 {
		tried = fmt.Sprintf("%d times", r.N)
	}
	return fmt.Sprintf("it was tried %s and is due again%s; the last error: %s", tried, r.in(now), r.Name)
}

func (r Reason) sayKeyFull(now time.Time) string {
	if r.Name == string(StatusScheduled) {
		return fmt.Sprintf("its key's slot is held by task %d (attempt %d, due%s)", r.TaskID, r.N+1, r.in(now))
	}
	return fmt.Sprintf("its key's slot is held by task %d (%s, attempt %d)", r.TaskID, r.Name, r.N)
}

func (r Reason) ago(now time.Time) string {
	if r.Since == nil {
		return ""
	}
	return fmt.Sprintf(" %v ago", max(0, now.Sub(*r.Since)).Round(time.Second))
}

func (r Reason) in(now time.Time) string {
	if r.Until == nil {
		return " later"
	}
	return fmt.Sprintf(" in %v", max(0, r.Until.Sub(now)).Round(time.Second))
}

// maxWhyCount is where strunk_why stops counting.
const maxWhyCount = 1_000

// first says that n tasks come first.
func first(n int64, which string) string {
	switch {
	case n == 1:
		return fmt.Sprintf("1 task %s comes first", which)
	case n >= maxWhyCount:
		return fmt.Sprintf("%d tasks or more %s come first", n, which)
	}
	return fmt.Sprintf("%d tasks %s come first", n, which)
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown role"
	}
	return s
}
