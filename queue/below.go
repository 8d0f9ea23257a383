package queue

import (
	"context"
	"slices"
	"sync"
	"time"
)

// belowLook looks for tasks below the low watermarks of a busy worker: a person who sets a task to pending puts it
// there. It reads every entry of finished tasks that an open snapshot keeps alive, which may take seconds, so it runs
// beside the claims, on a connection of its own. At most one runs.
type belowLook struct {
	running sync.WaitGroup
	found   chan belowAnswer // holds one
}

// belowAnswer is what a look has found.
type belowAnswer struct {
	marks *watermarks // those it was asked for
	asked []int64     // their low watermarks then
	low   []int64     // where they must be: lower where a task is pending
	began time.Time
	err   error
}

func newBelowLook() *belowLook { return &belowLook{found: make(chan belowAnswer, 1)} }

// lookBelow obeys what the last look has found, and starts the next when it is due.
func (c *claimer) lookBelow(ctx context.Context) {
	select {
	case answer := <-c.below.found:
		c.obeyBelow(answer)
	default:
	}
	now := time.Now()
	if !c.marks.belowDue(now) {
		return
	}
	c.marks.belowBegun(now)
	answer := belowAnswer{marks: c.marks, asked: slices.Clone(c.marks.low), began: now}
	c.below.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, c.patience)
		defer cancel()
		answer.err = c.rt.Pool().QueryRow(ctx, c.rt.SQL(sqlAdvance), c.queue, make([]int64, levels), answer.asked).
			Scan(&answer.low)
		c.below.found <- answer
	})
}

func (c *claimer) obeyBelow(answer belowAnswer) {
	if answer.err != nil {
		c.warn("a look for tasks that were set to pending by hand failed; trying again", answer.err)
	}
	answer.marks.belowAnswered(answer, time.Now())
}
