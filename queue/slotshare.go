package queue

import (
	"fmt"
	"slices"
	"sync"
)

// slotTable is who has how many of shared slots, and who waits for some.
//
// A slot may be taken beyond what is kept for the minimums of others. While a claimer works through a backlog, its
// worker is eager: its part of the slots by weight is left to it also while its claim is under way, and nobody can
// take more than his own part out of it.
type slotTable struct {
	mu      sync.Mutex
	free    int     // had by nobody
	turn    float64 // of the worker that was dealt a slot last: see slotShare.turn
	members []*slotShare
	waiting []*slotWaiter // who has waited longest first
	lanes   []*slotLanes  // of the sessions whose tasks have lacked slots: see deal
}

// slotShare is what one worker has of shared slots. Its numbers after slots are fixed; the others are guarded by the
// table's mutex.
type slotShare struct {
	slots             *SharedSlots
	min, most, weight int

	runs  int     // calls of worker.Run under way
	held  int     // slots of tasks and of claims under way
	eager int     // claimers that want more
	turn  float64 // rises with each slot that is dealt to the worker, by one for its weight
}

// slotWaiter is a claimer that waits for a slot.
type slotWaiter struct {
	share   *slotShare
	granted bool
	ready   chan struct{} // signalled when it was granted one
}

// declare makes a worker a member before it runs: its minimum is kept from then on. dismiss ends that, unless it runs.
// That of a nil share does nothing.
func (sh *slotShare) declare() []error {
	if sh == nil {
		return nil
	}
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(sh)
	sum, n := 0, 0
	for _, m := range s.members {
		if sum += m.min; m.min > 0 {
			n++
		}
	}
	if sum > s.size {
		return []error{fmt.Errorf("MinSlots: the minimums of %d workers that share %d slots are %d together; lower "+
			"them", n, s.size, sum)}
	}
	return nil
}

func (sh *slotShare) dismiss() {
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(sh)
}

func (s *SharedSlots) add(sh *slotShare) {
	if !slices.Contains(s.members, sh) {
		s.members = append(s.members, sh)
	}
}

func (s *SharedSlots) remove(sh *slotShare) {
	if sh.runs == 0 {
		s.members = slices.DeleteFunc(s.members, func(m *slotShare) bool { return m == sh })
		s.deal()
	}
}

// join is called when a worker begins to run, leave when it has ended. Those of a nil share do nothing.
func (sh *slotShare) join() {
	if sh == nil {
		return
	}
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.runs++
	s.add(sh)
}

func (sh *slotShare) leave() {
	if sh == nil {
		return
	}
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.runs--
	s.remove(sh)
}

// part is how many slots a worker is to have at least, rounded up, where the weights of all that want some are so
// much in all.
func (sh *slotShare) part(weights int) int {
	return max(sh.min, min(sh.most, (sh.slots.size*sh.weight+weights-1)/weights))
}

// room is how many slots a worker may take now.
func (s *SharedSlots) room(sh *slotShare) int {
	weights := 0
	for _, m := range s.members {
		if m == sh || m.eager > 0 {
			weights += m.weight
		}
	}
	kept, left := 0, 0 // for the minimums of others, and for their parts
	for _, m := range s.members {
		if m == sh {
			continue
		}
		kept += max(0, m.min-m.held)
		if m.eager > 0 {
			left += max(0, m.part(weights)-m.held)
		} else {
			left += max(0, m.min-m.held)
		}
	}
	own := sh.part(weights) - sh.held
	return max(0, min(sh.most-sh.held, s.free-kept, max(own, s.free-left)))
}

// take takes up to so many slots, and returns how many it got.
func (sh *slotShare) take(most int) int {
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(sh, min(most, s.room(sh)))
}

func (s *SharedSlots) grant(sh *slotShare, n int) int {
	sh.held += n
	s.free -= n
	return n
}

// give gives slots up. That of a nil share does nothing.
func (sh *slotShare) give(n int) {
	if sh == nil || n == 0 {
		return
	}
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant(sh, -n)
	s.deal()
}

// want records whether a claimer of the worker is eager.
func (sh *slotShare) want(eager bool) {
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if eager {
		sh.eager++
	} else {
		sh.eager--
	}
	s.deal() // the parts of all have changed
}

// await has a claimer wait for a slot. It is eager.
func (sh *slotShare) await() *slotWaiter {
	w := &slotWaiter{share: sh, ready: make(chan struct{}, 1)}
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.turn = max(sh.turn, s.turn)
	s.waiting = append(s.waiting, w)
	s.deal()
	return w
}

// end ends the wait, and reports whether the claimer was granted a slot.
func (w *slotWaiter) end() (granted bool) {
	s := w.share.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *slotWaiter) bool { return other == w })
	return w.granted
}

// deal grants free slots to claimers that wait, and to tasks that were claimed ahead and have none: first to those
// whose workers have the fewest for their weight, which are many where there are fewer slots than workers; of those,
// in turn, by weight too; then to tasks, and to the claimers that have waited longest.
func (s *SharedSlots) deal() {
	for s.free > 0 {
		next, lanes := s.nextWaiter(), s.nextLanes()
		switch {
		case lanes != nil && (next < 0 || !s.waiting[next].share.before(lanes.share)):
			s.dealTo(lanes.share)
			lanes.add(0, 1)
			lanes.dealt()
		case next >= 0:
			w := s.waiting[next]
			s.waiting = slices.Delete(s.waiting, next, next+1)
			s.dealTo(w.share)
			w.granted = true
			w.ready <- struct{}{}
		default:
			return
		}
	}
}

func (s *SharedSlots) dealTo(sh *slotShare) {
	s.grant(sh, 1)
	s.turn = sh.turn
	sh.turn += 1 / float64(sh.weight)
}

// nextWaiter is the place of the claimer that is due a slot, or -1.
func (s *SharedSlots) nextWaiter() int {
	next := -1
	for i, w := range s.waiting {
		if (next < 0 || w.share.before(s.waiting[next].share)) && s.room(w.share) > 0 {
			next = i
		}
	}
	return next
}

// nextLanes are those that are due a slot for a task that waits in them; nil for none.
func (s *SharedSlots) nextLanes() (next *slotLanes) {
	for _, l := range s.lanes {
		if l.short.Load() > 0 && (next == nil || l.share.before(next.share)) && s.room(l.share) > 0 {
			next = l
		}
	}
	return next
}

// strike ends what lack has begun.
func (s *SharedSlots) strike(l *slotLanes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes = slices.DeleteFunc(s.lanes, func(other *slotLanes) bool { return other == l })
}

// lack says that tasks of a session wait without a slot. From now on deal grants them some, until the session has
// ended.
func (sh *slotShare) lack(l *slotLanes) {
	s := sh.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.lanes, l) {
		s.lanes = append(s.lanes, l)
	}
	sh.turn = max(sh.turn, s.turn)
	s.deal()
}

// before reports whether the next slot is due to a worker rather than to another.
func (sh *slotShare) before(other *slotShare) bool {
	if has, otherHas := sh.held*other.weight, other.held*sh.weight; has != otherHas {
		return has < otherHas
	}
	return sh.turn < other.turn
}
