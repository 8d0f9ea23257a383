package queue

import (
	"testing"
	"time"
)

// fastStarts has handlers so quick that a claim may start all of its tasks.
func fastStarts() (*starts, *prefetch) {
	b, l := newPrefetch(), newLatency()
	l.published.Store(int64(time.Microsecond))
	s := newStarts(10, false, l, b)
	s.cost = time.Millisecond
	return s, b
}

// jobsOf are tasks of one claim, as the claimer hands them on.
func jobsOf(b *prefetch, claim int64, seqs ...int64) (jobs []*job) {
	for _, seq := range seqs {
		jobs = append(jobs, &job{id: seq, claim: claim, seq: seq})
	}
	b.claimed(jobs)
	return jobs
}

// handedOn are the sequence numbers of the tasks that may start, in order.
func handedOn(b *prefetch) (seqs []int64) {
	b.drain(func(j *job) { seqs = append(seqs, j.seq) })
	return seqs
}

func wantHandedOn(t *testing.T, b *prefetch, when string, want ...int64) {
	t.Helper()
	got := handedOn(b)
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = got[i] == want[i]
	}
	if !same {
		t.Errorf("%s the tasks %v are handed on; want %v", when, got, want)
	}
}

// writing begins a write for tasks 1 and 2 of claim 1, whose claim could not let them start.
func writing(t *testing.T, s *starts, b *prefetch) *write {
	t.Helper()
	s.claimed(jobsOf(b, 1, 1, 2), allowance{})
	w := s.next()
	if w == nil || len(w.jobs) != 2 {
		t.Fatalf("the write is %+v; want one for two tasks", w)
	}
	return w
}

// TestClaimLetsTasksStartBesideAWrite claims while a write is under way: the claim lets its tasks
// start, after those of the write, and no further write is needed.
func TestClaimLetsTasksStartBesideAWrite(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	w := writing(t, s, b)
	a := s.beforeClaim(0)
	if a.tasks < 2 || a.atOnce != 0 {
		t.Fatalf("the allowance is %+v; want it to let two tasks start, and none count as started", a)
	}
	s.claimed(jobsOf(b, 2, 3, 4), a)
	wantHandedOn(t, b, "before the write is committed")
	s.sent(w)
	wantHandedOn(t, b, "after it", 1, 2, 3, 4)
	if len(s.pending) > 0 || s.may != endOf(2) {
		t.Errorf("%d tasks wait, and tasks may start up to %v; want none, and the end of claim 2", len(s.pending),
			s.may)
	}
}

// TestFailedWriteHandsNothingOn fails the write beside which a claim was made: nothing starts before the next write.
func TestFailedWriteHandsNothingOn(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	w := writing(t, s, b)
	s.claimed(jobsOf(b, 2, 3, 4), s.beforeClaim(0))
	s.undo(w)
	wantHandedOn(t, b, "after a failed write")
	again := s.next()
	if again == nil || len(again.jobs) != 4 {
		t.Fatalf("the next write is %+v; want one for all four tasks", again)
	}
	s.sent(again)
	wantHandedOn(t, b, "after the next write", 1, 2, 3, 4)
}

// TestPossiblyStartedTaskHoldsUpClaims has a task that must start alone wait: a claim lets none start beside it.
func TestPossiblyStartedTaskHoldsUpClaims(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	jobs := jobsOf(b, 1, 1, 2)
	jobs[0].possiblyStarted = true
	s.claimed(jobs, allowance{})
	if a := s.beforeClaim(0); a.tasks != 0 {
		t.Errorf("while a possibly started task waits, a claim lets %d tasks start; want none", a.tasks)
	}
	w := s.next()
	if w == nil || len(w.jobs) != 1 {
		t.Fatalf("the write is %+v; want one for the task alone", w)
	}
	if a := s.beforeClaim(0); a.tasks != 0 {
		t.Errorf("during the write of a possibly started task, a claim lets %d tasks start; want none", a.tasks)
	}
}

// TestTaskThatMustStartAloneIsHeldUp has a task that must start alone wait for one that gathers in a batch.
func TestTaskThatMustStartAloneIsHeldUp(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	s.gathers = true
	jobs := jobsOf(b, 1, 1, 2)
	jobs[1].possiblyStarted = true
	s.claimed(jobs, s.beforeClaim(0))
	wantHandedOn(t, b, "after the claim", 1)
	if w := s.next(); w != nil || !s.heldUp() {
		t.Errorf("the next write is %+v, held up: %v; want none, and the second task held up", w, s.heldUp())
	}
	jobs[0].passed.Store(true) // its batch has begun
	s.advance()
	if s.heldUp() {
		t.Error("the second task is held up by one that has started; want it not to be")
	}
}

// TestNextWaitsForTheOutcomeOfTheOneBefore has a possibly started task run for long, or end, before the next one:
// beside one that runs the next may start after a while; one that has ended is waited for until its outcome is stored,
// since the crash of the next would charge it, too.
func TestNextWaitsForTheOutcomeOfTheOneBefore(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	jobs := jobsOf(b, 1, 1, 2)
	for _, j := range jobs {
		j.possiblyStarted = true
	}
	s.claimed(jobs, allowance{})
	w := s.next()
	if w == nil || len(w.jobs) != 1 {
		t.Fatalf("the write is %+v; want one for the first task", w)
	}
	s.sent(w)
	wantHandedOn(t, b, "the first", 1)
	b.began()
	s.alone = time.Now().Add(-2 * aloneTime)
	if !s.mayStartAlone() {
		t.Error("the first task runs for long, and the next may not start beside it")
	}
	b.ended()
	s.alone = time.Now().Add(-2 * aloneTime)
	if w := s.next(); w != nil {
		t.Errorf("the outcome of the first task is not stored, and the next write is %+v; want none", w)
	}
	b.settled([]outcome{{job: jobs[0]}})
	if w := s.next(); w == nil || len(w.jobs) != 1 {
		t.Errorf("the outcome is stored, and the next write is %+v; want one for the second task", w)
	}
}

// TestDroppedTasksStayDropped takes what waits while a write is under way, at the end of a worker.
func TestDroppedTasksStayDropped(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	w := writing(t, s, b)
	s.claimed(jobsOf(b, 2, 3, 4), s.beforeClaim(0))
	if dropped := s.takePending(); len(dropped) != 2 {
		t.Errorf("%d tasks are dropped; want the two of the claim", len(dropped))
	}
	s.sent(w)
	wantHandedOn(t, b, "after the drop", 1, 2)
}

// TestTasksBeyondTheSlotsDoNotStartAtOnce claims ahead for shared slots: as started count no more tasks than have
// slots.
func TestTasksBeyondTheSlotsDoNotStartAtOnce(t *testing.T) {
	t.Parallel()
	s, b := fastStarts()
	b.slots.shareSlots(&slotShare{slots: Slots(10)}, func() {})
	if a := s.beforeClaim(2); a.atOnce != 2 || a.tasks <= 2 {
		t.Errorf("of a claim with 2 slots %d tasks may start and %d start at once; want more than 2, and 2", a.tasks,
			a.atOnce)
	}
	b.slots.add(7, 3)
	b.allowed.Add(7)
	if a := s.beforeClaim(2); a.atOnce > 0 {
		t.Errorf("while 7 tasks have 3 slots, %d more start at once; want none", a.atOnce)
	}
}
