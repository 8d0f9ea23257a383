package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// BeginBefore makes a task of no use unless a handler has begun it by t, by the database's clock: one
// that has not is discarded ([StatusDiscarded]), or with [Config].DeadIfLate becomes a dead letter,
// wherever it waits. An attempt that has begun by then may end later, and so may its retries: a task
// that has begun once has no deadline any more. See the guide docs/deadlines.md.
func BeginBefore(t time.Time) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.beginBefore, o.beginWithin = &t, nil })
}

// BeginWithin is BeginBefore a time that is d after the task is due: after its enqueue, where it has no
// delay.
func BeginWithin(d time.Duration) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.beginBefore, o.beginWithin = nil, &d })
}

func (o *enqueueOptions) checkDeadline() error {
	if o.beginBefore != nil && (o.beginBefore.Year() < 1 || o.beginBefore.Year() > 9999) {
		return fmt.Errorf("BeginBefore: the year %d is not from 1 to 9999", o.beginBefore.Year())
	}
	if o.beginWithin != nil {
		return checkWindow("BeginWithin", *o.beginWithin)
	}
	if o.beginBefore != nil && o.due != nil && !o.beginBefore.After(*o.due) {
		return errors.New("BeginBefore: it is not after DueAt: the task could never begin")
	}
	return nil
}

// deadlines are the deadlines of tasks that are enqueued, as parameters of strunk_set_deadlines.
type deadlines struct {
	items  []int
	before []*time.Time
	within []*int64
	dead   []bool
}

// add adds the deadline of a task, if it has one.
func (d *deadlines) add(item int, def *definition, o enqueueOptions) {
	within := o.beginWithin
	if within == nil && o.beginBefore == nil && def.cfg.BeginWithin > 0 {
		within = &def.cfg.BeginWithin
	}
	if within == nil && o.beginBefore == nil {
		return
	}
	d.items = append(d.items, item)
	d.before, d.within = append(d.before, o.beginBefore), append(d.within, millis[int64](within))
	d.dead = append(d.dead, def.cfg.DeadIfLate)
}

// sqlSetDeadlines gives tasks $1 the times $2, or $3 ms after they are due; $4 says which of them are
// dead letters if they are late.
const sqlSetDeadlines = `SELECT {schema}.strunk_set_deadlines($1::bigint[], $2::timestamptz[], $3::bigint[],
	$4::boolean[])`

// set sets the deadlines of what was enqueued; a duplicate keeps its own.
func (d *deadlines) set(ctx context.Context, t core.Tx, done []Enqueued) error {
	ids, some := make([]int64, len(d.items)), false
	for i, item := range d.items {
		if e := done[item]; !e.Duplicate || e.Replaced {
			ids[i], some = e.ID, true
		}
	}
	if !some {
		return nil
	}
	return t.Query(ctx, t.Host().SQL(sqlSetDeadlines), []any{ids, d.before, d.within, d.dead}, noRows)
}

// deadline is until when a claimed task may begin. A nil one is never over.
type deadline struct {
	at    time.Time // by this process's monotonic clock
	begun bool
}

// newDeadline is one that was ms milliseconds away when the answer to the claim was made.
func newDeadline(ms int64) *deadline {
	return &deadline{at: time.Now().Add(time.Duration(ms) * time.Millisecond)}
}

func (d *deadline) passed() bool { return d != nil && !time.Now().Before(d.at) }

// begin notes that the task has begun.
func (d *deadline) begin() {
	if d != nil {
		d.begun = true
	}
}

// begunOf says which tasks with a deadline have begun; nil where none has.
func begunOf(part []outcome) (begun []bool) {
	for i, o := range part {
		if o.job.deadline != nil && o.job.deadline.begun {
			if begun == nil {
				begun = make([]bool, len(part))
			}
			begun[i] = true
		}
	}
	return begun
}
