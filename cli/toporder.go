package cli

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/strunk-go/strunk/ops"
)

// sortWorst is the order of top where none is given: what needs somebody comes first.
const sortWorst = "worst"

// topOrders are the orders of queues that top has: they return less than zero where a comes before b. Of equals the
// worst comes first.
var topOrders = map[string]func(a, b queueLine) int{
	sortWorst: func(queueLine, queueLine) int { return 0 }, // ops.WorstFirst has put them so
	"name":    func(a, b queueLine) int { return strings.Compare(a.Name, b.Name) },
	"done":    func(a, b queueLine) int { return cmp.Compare(b.Lately.Done, a.Lately.Done) },
	"failing": func(a, b queueLine) int { return cmp.Compare(b.Lately.FailedShare, a.Lately.FailedShare) },
	"pending": func(a, b queueLine) int { return cmp.Compare(b.Pending.N, a.Pending.N) },
	"claimed": func(a, b queueLine) int { return cmp.Compare(b.Claimed.N, a.Claimed.N) },
	"dead":    func(a, b queueLine) int { return cmp.Compare(b.Dead.N, a.Dead.N) },
	"waiting": func(a, b queueLine) int { return cmp.Compare(b.WaitingFor.Duration, a.WaitingFor.Duration) },
}

func sortNames() string { return strings.Join(slices.Sorted(maps.Keys(topOrders)), ", ") }

// sort puts queues in an order, subscribers and workers with the worst first, and leaves out what a screen has no
// room for.
func (s *sample) sort(order string) {
	slices.SortStableFunc(s.queues, topOrders[order])
	slices.SortStableFunc(s.subscribers, func(a, b ops.Subscriber) int {
		return cmp.Or(boolFirst(a.Blocked != nil, b.Blocked != nil), boolFirst(a.NeedsRestart, b.NeedsRestart),
			cmp.Compare(b.Lag.Duration, a.Lag.Duration), strings.Compare(a.Name, b.Name))
	})
	slices.SortStableFunc(s.workers, func(a, b ops.Worker) int {
		return cmp.Or(boolFirst(a.Silent, b.Silent), strings.Compare(a.Queue, b.Queue), cmp.Compare(a.ID, b.ID))
	})
	s.queues = s.queues[:min(len(s.queues), topRows)]
	s.subscribers = s.subscribers[:min(len(s.subscribers), topRows)]
	s.workers = s.workers[:min(len(s.workers), topRows)]
}

// boolFirst orders what is true before what is not.
func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
