package queue

// firstAsk is how many slots a claim takes that need not find a backlog.
const firstAsk = 4

// claimSlots are the slots that a claimer has for its next claim, where its worker shares slots with others. For other
// workers its methods do nothing. They belong to the claimer's goroutine.
type claimSlots struct {
	share *slotShare // nil for none

	taken  int         // for the next claim
	ask    int         // how many a claim takes: twice what the last one found
	wait   *slotWaiter // while the claimer waits for a slot
	again  bool        // the last claim had no slot, or has filled all that it had
	wanted bool        // the last claim had no slot
	eager  bool
}

// begin begins a round.
func (s *claimSlots) begin() { s.again, s.wanted = false, false }

// take takes slots for a claim of up to limit tasks, perSlot of them for each slot, and returns how many it may claim.
func (s *claimSlots) take(limit int, perSlot func() int) int {
	if s.share == nil || limit <= 0 {
		return limit
	}
	if s.ask = max(s.ask, firstAsk); s.taken < min(limit, s.ask) {
		s.taken += s.share.take(min(limit, s.ask) - s.taken)
	}
	s.wanted = s.taken == 0
	s.again = s.wanted
	return min(s.taken*perSlot(), limit)
}

// claimed records that a claim of up to limit tasks has found so many, and returns how many slots they have.
func (s *claimSlots) claimed(found, limit int) (slots int) {
	if s.share == nil {
		return 0
	}
	slots = min(s.taken, found)
	if s.again = found == limit; s.again {
		s.ask = max(s.ask, 2*s.taken)
	} else {
		s.ask = 2 * slots
	}
	s.taken -= slots
	return slots
}

// ready reports whether there may be a claim: the last one has not lacked a slot, or there is one now.
func (s *claimSlots) ready() bool {
	if s.wait != nil && len(s.wait.ready) > 0 {
		s.endWait()
	}
	return !s.wanted || s.taken > 0
}

// granted is signalled when the claimer, which waits from now on, may have a slot.
func (s *claimSlots) granted() <-chan struct{} {
	if s.wait == nil {
		s.setEager(true)
		s.wait = s.share.await()
	}
	return s.wait.ready
}

func (s *claimSlots) endWait() {
	if s.wait != nil && s.wait.end() {
		s.taken++
	}
	s.wait = nil
}

// endRound gives up what a claim has not used. The claimer is eager if another claim follows at once.
func (s *claimSlots) endRound(again bool) {
	if s.share != nil {
		s.giveUp()
		s.setEager(again)
	}
}

// rest gives up everything: there will be no claim for some time.
func (s *claimSlots) rest() {
	if s.share != nil {
		s.endWait()
		s.giveUp()
		s.setEager(false)
	}
}

func (s *claimSlots) giveUp() {
	s.share.give(s.taken)
	s.taken = 0
}

func (s *claimSlots) setEager(eager bool) {
	if s.eager != eager {
		s.eager = eager
		s.share.want(eager)
	}
}
