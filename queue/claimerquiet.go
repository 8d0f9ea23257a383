package queue

import (
	"context"
	"time"
)

// firstLook takes note of what the session's first look has found, which entered the index at the bottom.
func (c *claimer) firstLook(work bool, now time.Time) {
	if c.work = work; work {
		return
	}
	c.marks.bottom.last = now
	if !c.limits.inForce().keyed() {
		c.limits.admission.sweep.spare(now)
	}
}

// idle waits for a wake-up or for the pause, and reports whether it was a wake-up. The longest pauses of all quiet
// queues of the process end at the same moments.
func (c *claimer) idle(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(c.limits.sleep(c.rt.Rhythm().Pause(pause, c.poll)))
	defer timer.Stop()
	select {
	case <-c.woken:
		return !c.fullyPolled()
	case <-c.limits.wake():
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// fullyPolled reports whether all were woken since it was asked last: such a wake-up is no sign of work.
func (c *claimer) fullyPolled() bool {
	before := c.fullPolls
	c.fullPolls = c.rt.FullPolls()
	return c.fullPolls != before
}

// mustClaim reports whether a claim does more than a look would: for limits, or by its transaction id, which moves low
// watermarks that are below the high ones.
func (c *claimer) mustClaim() bool { return c.limits.mustClaim() || !c.marks.settled() }

// look asks whether there is something to claim, together with the other quiet queues of the process. A wake-up is
// not kept waiting for the answer.
func (c *claimer) look(ctx context.Context) (any bool, err error) {
	began := time.Now()
	low, fromBottom := c.marks.look(began)
	question := workQuestion{queue: c.queue, low: low, backlog: c.limits.looked()}
	for {
		with, place := c.questions.work.put(c.limits.end, askForWork(c.rt), question)
		select {
		case <-with.done:
			if any, err = with.at(place); fromBottom && !any {
				c.marks.bottom.done(began, time.Now())
			}
			return any, err
		case <-c.limits.wake():
			return true, nil
		case <-c.woken:
			if !c.fullyPolled() {
				return true, nil
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
