package queue

import (
	"slices"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// counted counts what happens to a queue's tasks in this process. The ends that are no success are counted by the
// statements that store them: dead letters, cancelled and discarded tasks. A nil one counts nothing. Safe for
// concurrent use.
type counted struct {
	host core.Host
	in   *core.Counters
}

func newCounted(host core.Host, queue string) *counted {
	return &counted{host: host, in: host.Counters(core.CountersOf{Kind: core.CountersOfQueue, Name: queue})}
}

// began counts a task that begins now, and how long it has waited since it was due. A task is enqueued before it waits,
// whatever its due time.
func (c *counted) began(j *job, now time.Time) {
	if c != nil {
		c.beganAt(j, c.host.DatabaseTime(now))
	}
}

// beganAt is began with the database's time.
func (c *counted) beganAt(j *job, now time.Time) {
	due := j.dueAt
	if due.Before(j.createdAt) {
		due = j.createdAt
	}
	j.begun = true
	c.in.Waits.ObserveTraced(now.Sub(due), j.metadataJSON)
}

// beginning returns what counts a task as begun, and calls next.
func (c *counted) beginning(next func(*job)) func(*job) {
	return func(j *job) {
		c.began(j, time.Now())
		next(j)
	}
}

// ran counts how long a task's handler ran. A task that has not begun is left out.
func (c *counted) ran(j *job, d time.Duration) {
	if c != nil && j.begun {
		c.in.Runs.ObserveTraced(d, j.metadataJSON)
	}
}

// settled counts outcomes that were stored: those whose tasks are among done.
func (c *counted) settled(part []outcome, done []int64) {
	if len(done) < len(part) {
		part = slices.DeleteFunc(slices.Clone(part), func(o outcome) bool { return !slices.Contains(done, o.job.id) })
	}
	completed, failed, retried := 0, 0, 0
	for _, o := range part {
		switch {
		case o.kind == outcomeComplete:
			completed++
		case o.kind == outcomeDead:
			failed++
		case o.kind == outcomeRetry && o.err != nil && !o.refund:
			failed++
			retried++
		}
	}
	c.add(completed, failed, retried)
}

// settledInTx counts the tasks of a batch of outcomes that their handlers' own transactions have completed.
func (c *counted) settledInTx(batch []outcome) {
	completed := 0
	for _, o := range batch {
		if o.kind == outcomeSettled {
			completed++
		}
	}
	c.add(completed, 0, 0)
}

func (c *counted) add(completed, failed, retried int) {
	if c == nil {
		return
	}
	if completed > 0 {
		c.in.Done.Add(int64(completed))
	}
	if failed > 0 {
		c.in.Failed.Add(int64(failed))
		c.in.Retried.Add(int64(retried))
	}
}
