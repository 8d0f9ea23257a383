package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// one task for each slot.
func one() int { return 1 }

// newShares makes a member of the slots for each minimum and weight.
func newShares(t *testing.T, s *SharedSlots, each ...[2]int) (shares []*slotShare) {
	t.Helper()
	for _, m := range each {
		sh := &slotShare{slots: s, min: m[0], weight: m[1], most: s.size}
		if err := sh.declare(); err != nil {
			t.Fatal(err)
		}
		sh.join()
		shares = append(shares, sh)
	}
	return shares
}

// Claimers take, wait, give up and rest in any order: no slot is lost or made, minimums can be had at any moment, and
// nobody waits who could have a slot.
func TestSlotTableIsExact(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	s := Slots(20)
	shares := newShares(t, s, [2]int{0, 1}, [2]int{3, 1}, [2]int{5, 2}, [2]int{0, 7}, [2]int{1, 3})
	shares[3].most = 9
	// There are two claimers for each worker, as with aliases.
	claimers, running := make([]claimSlots, 2*len(shares)), make([]int, 2*len(shares))
	for i := range claimers {
		claimers[i].share = shares[i/2]
	}
	for step := range 20_000 {
		i := r.IntN(len(claimers))
		c := &claimers[i]
		switch r.IntN(4) {
		case 0: // what a round does
			if !c.ready() {
				c.granted()
				break
			}
			c.begin()
			if limit := c.take(1+r.IntN(10), one); !c.wanted {
				found := r.IntN(limit + 1)
				c.claimed(found, limit)
				running[i] += found
			}
			c.endRound(c.again)
		case 1:
			c.rest()
			c.begin()
		default:
			if running[i] > 0 {
				running[i]--
				c.share.give(1)
			}
		}
		checkSlots(t, s, claimers, running, step)
		if t.Failed() {
			return
		}
	}
}

func checkSlots(t *testing.T, s *SharedSlots, claimers []claimSlots, running []int, step int) {
	t.Helper()
	held := 0
	for i, sh := range s.members {
		held += sh.held
		waits := 0 // slots that were granted to claimers which have not looked yet
		for _, c := range claimers[2*i : 2*i+2] {
			if c.wait != nil && c.wait.granted {
				waits++
			}
		}
		want := running[2*i] + running[2*i+1] + claimers[2*i].taken + claimers[2*i+1].taken + waits
		if sh.held != want {
			t.Errorf("step %d: worker %d counts %d slots; it has %d", step, i, sh.held, want)
		}
		if sh.held > sh.most {
			t.Errorf("step %d: worker %d has %d slots; at most %d are for it", step, i, sh.held, sh.most)
		}
		if s.room(sh) < sh.min-sh.held {
			t.Errorf("step %d: worker %d has %d slots and room for %d; its minimum is %d", step, i, sh.held, s.room(sh),
				sh.min)
		}
	}
	if held+s.free != s.size {
		t.Errorf("step %d: %d slots are had and %d free; there are %d", step, held, s.free, s.size)
	}
	for _, w := range s.waiting {
		if s.room(w.share) > 0 {
			t.Errorf("step %d: a claimer waits that could have %d slots of %d free", step, s.room(w.share), s.free)
		}
	}
}

// wantAll has claimers with endless backlogs go on for some rounds. ending says how many of 10 tasks of a worker end
// in a round. It returns how many slots each has had, in all rounds.
func wantAll(s *SharedSlots, shares []*slotShare, claimers []claimSlots,
	rounds int, ending func(i int) int) (sum []int) {
	r := rand.New(rand.NewPCG(3, 3))
	sum = make([]int, len(shares))
	for range rounds {
		for _, i := range r.Perm(len(shares)) {
			c := &claimers[i]
			c.share = shares[i]
			for range shares[i].held - c.taken {
				if r.IntN(10) < ending(i) {
					shares[i].give(1)
				}
			}
			if !c.ready() {
				c.granted()
				continue
			}
			c.begin()
			if limit := c.take(s.size, one); !c.wanted {
				c.claimed(limit, limit)
			}
			c.endRound(true)
		}
		for i, sh := range shares {
			sum[i] += sh.held
		}
	}
	return sum
}

// Where all want more slots than there are, each worker has its part by weight, whatever was there before, and however
// slots become free: one by one, or many between two claims.
func TestSlotsByWeight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		ending       int // of 10 tasks in a round
	}{
		{"slow handlers", "each slot that becomes free is granted", 1},
		{"quick handlers", "who claims next must leave the others their parts", 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := Slots(60)
			shares, claimers := newShares(t, s, [2]int{0, 1}, [2]int{0, 2}, [2]int{0, 3}), make([]claimSlots, 3)
			ending := func(int) int { return c.ending }
			wantAll(s, shares, claimers, 400, ending) // the first came when the slots were free
			wantSixths(t, wantAll(s, shares, claimers, 1000, ending), c.reason)
		})
	}
	t.Run("more workers than slots", func(t *testing.T) {
		t.Parallel()
		s := Slots(6)
		shares := newShares(t, s, slices.Repeat([][2]int{{0, 1}, {0, 2}, {0, 3}}, 10)...)
		sum := make([]int, 3)
		for i, n := range wantAll(s, shares, make([]claimSlots, len(shares)), 2000, func(int) int { return 5 }) {
			sum[i%3] += n
		}
		wantSixths(t, sum, "no worker has a part of a whole slot, so they take turns")
	})
}

// wantSixths checks that the slots were had 1 to 2 to 3.
func wantSixths(t *testing.T, sum []int, reason string) {
	t.Helper()
	all := sum[0] + sum[1] + sum[2]
	for i, n := range sum {
		if part := float64(n) / float64(all) * 6; part < 0.85*float64(i+1) || part > 1.15*float64(i+1) {
			t.Errorf("weight %d has had %.2f sixths of the slots (%v); %s", i+1, part, sum, reason)
		}
	}
}

// A worker whose handlers take long does not gather slots turn by turn where others have none.
func TestLongHandlersGatherNoSlots(t *testing.T) {
	t.Parallel()
	s := Slots(4)
	shares, claimers := newShares(t, s, slices.Repeat([][2]int{{0, 1}}, 8)...), make([]claimSlots, 8)
	ending := func(i int) int {
		if i == 7 {
			return 0
		}
		return 5
	}
	wantAll(s, shares[:7], claimers, 100, ending)
	wantAll(s, shares, claimers, 2000, ending)
	if n := shares[7].held; n != 1 {
		t.Errorf("the worker with long handlers has %d of 4 slots that 8 workers share; want 1", n)
	}
}

// Tasks that were claimed ahead for one slot get the slots that are free, or become free, up to one for each; a minimum
// stays with its owner, and all are given up at the end.
func TestTasksClaimedAheadGetFreeSlots(t *testing.T) {
	t.Parallel()
	s := Slots(8)
	shares := newShares(t, s, [2]int{0, 1}, [2]int{2, 1})
	var lanes slotLanes
	lanes.shareSlots(shares[0], func() {})
	if n := shares[1].take(4); n != 4 {
		t.Fatalf("the other worker has %d", n)
	}
	lanes.claimed(7, shares[0].take(1))
	if n := lanes.count(); n != 4 {
		t.Errorf("7 tasks have %d slots; want the 4 that are free", n)
	}
	shares[1].give(3)
	if n := lanes.count(); n != 6 {
		t.Errorf("7 tasks have %d slots; want 6, and 2 kept for the other worker", n)
	}
	shares[1].give(1)
	lanes.ended(3)
	if n := lanes.count(); n != 4 || s.free != 4 {
		t.Errorf("4 tasks have %d slots, and %d are free", n, s.free)
	}
	lanes.close()
	lanes.ended(4)
	if n := lanes.count(); n != 0 || s.free != 8 || len(s.lanes) != 0 {
		t.Errorf("none is left, and has %d slots; %d are free; %d sessions lack some", n, s.free, len(s.lanes))
	}
}

// A task that was claimed ahead, and that no write has let start yet, is let start when it is dealt a slot, while
// nothing starts or ends that would tell.
func TestTaskThatWaitsToStartGetsAFreeSlot(t *testing.T) {
	t.Parallel()
	shares := newShares(t, Slots(4), [2]int{0, 1}, [2]int{0, 1})
	if n := shares[1].take(3); n != 3 {
		t.Fatalf("the other worker has %d", n)
	}
	b := newPrefetch()
	s := &starter{starts: newStarts(4, false, newLatency(), b), buffer: b, wake: make(chan struct{}, 1)}
	b.slots.shareSlots(shares[0], s.slotDealt)
	b.slots.claimed(3, shares[0].take(1))
	s.starts.claimed(jobsOf(b, 1, 1, 2, 3), allowance{})
	for want := int64(1); want <= 2; want++ {
		w := s.starts.next()
		if w == nil || len(w.jobs) != 1 {
			t.Fatalf("the write is %+v; want one for one task, as many as have a slot", w)
		}
		s.starts.sent(w)
		wantHandedOn(t, b, "with a slot for it", want)
		if w := s.starts.next(); w != nil {
			t.Fatalf("the write is %+v; want none while no slot is free", w)
		}
		if shares[1].give(1); len(s.wake) != 1 {
			t.Fatal("nobody tells the starter of a slot")
		}
		<-s.wake
	}
}
