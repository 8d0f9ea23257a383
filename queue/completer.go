package queue

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// After a batch of more than lingerAbove outcomes the next one is held back for lingerTime, or until half of
	// maxOutcomes have come: batches fill when outcomes come fast.
	lingerAbove = 50
	lingerTime  = 3 * time.Millisecond
)

// completer collects the outcomes of tasks and writes them in batches: whatever has come while the last batch was being
// written goes out with the next.
type completer struct {
	rt      core.Runtime
	queue   string
	writer  *outcomeWriter
	size    outcomeSize
	hooks   *deadHooks
	passage *passage
	counted *counted
	// giveUp reports whether outcomes that cannot be written are left to the rescue.
	giveUp func() bool
	// written is called with each batch once it is written or given up.
	written func([]outcome)
	results bool // the queue's waiters wait for results

	mu      sync.Mutex
	pending []outcome
	closed  bool
	more    chan struct{}
}

func newCompleter(rt core.Runtime, def *definition, w *outcomeWriter, h *deadHooks, giveUp func() bool) *completer {
	return &completer{rt: rt, queue: def.name, writer: w, size: newOutcomeSize(), hooks: h, giveUp: giveUp,
		written: func([]outcome) {}, results: def.results, more: make(chan struct{}, 1)}
}

func (c *completer) add(o outcome) {
	c.mu.Lock()
	c.pending = append(c.pending, o)
	n := len(c.pending)
	c.mu.Unlock()
	if n == 1 || n == maxOutcomes/2 {
		signal(c.more)
	}
}

// close lets run end once everything is written.
func (c *completer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	signal(c.more)
}

func (c *completer) run() {
	last := 0
	for {
		if last > lingerAbove {
			c.linger()
		}
		batch, closed := c.take()
		if len(batch) == 0 {
			if closed {
				return
			}
			last = 0
			<-c.more
			continue
		}
		last = len(batch)
		c.write(batch)
	}
}

// full reports whether the next batch need not wait for more.
func (c *completer) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || len(c.pending) >= maxOutcomes/2
}

func (c *completer) linger() {
	if c.full() {
		return
	}
	timer := time.NewTimer(lingerTime)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-c.more:
			if c.full() {
				return
			}
		}
	}
}

func (c *completer) take() (batch []outcome, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.size.first(c.pending)
	batch = slices.Clone(c.pending[:n])
	c.pending = append(c.pending[:0], c.pending[n:]...)
	return batch, c.closed
}

// write writes a batch, sorted by id so that rows are locked in one order everywhere.
func (c *completer) write(batch []outcome) {
	slices.SortFunc(batch, func(a, b outcome) int { return cmp.Compare(a.job.id, b.job.id) })
	for _, kind := range []outcomeKind{outcomeComplete, outcomeRetry, outcomeDead, outcomeCancelled, outcomeDiscarded,
		outcomeLate} {
		var part []outcome
		for _, o := range batch {
			if o.kind == kind {
				part = append(part, o)
			}
		}
		if len(part) > 0 {
			c.writeKind(kind, part)
		}
	}
	c.written(batch)
}

// writeKind writes outcomes, as many at a time as the size allows.
func (c *completer) writeKind(kind outcomeKind, part []outcome) {
	lostAnswer := false
	for len(part) > 0 {
		n, ok := c.writeFirst(kind, part, &lostAnswer)
		if !ok {
			return
		}
		part = part[n:]
	}
}

// writeFirst repeats a statement until the server has answered, and returns how many outcomes it wrote. A token can be
// used once only, so a repetition changes nothing twice. It reports false where the outcomes are left to the rescue.
func (c *completer) writeFirst(kind outcomeKind, part []outcome, lostAnswer *bool) (n int, ok bool) {
	c.passage.begin(outcomeErrand)
	defer c.passage.through(outcomeErrand)
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		n = c.size.first(part)
		done, err := c.writer.write(kind, part[:n])
		switch {
		case err == nil:
			c.size.Succeeded()
			c.report(kind, part[:n], done, *lostAnswer)
			return n, true
		case core.IsUnstorable(err):
			c.split(kind, part[:n], err)
			return n, true
		case c.giveUp():
			logWarning(c.rt, c.queue, "outcomes could not be written, their tasks are redelivered after the lease", err)
			return 0, false
		}
		*lostAnswer = *lostAnswer || core.AnswerLost(err)
		if c.size.failed(err, part, n) {
			logWarning(c.rt, c.queue, "writing outcomes took too long; the next statements have fewer", err)
			continue
		}
		logWarning(c.rt, c.queue, "writing outcomes failed; trying again", err)
		time.Sleep(pause)
	}
}

// split writes the two halves of a batch that the server refuses, so that one row does not stop its neighbours.
func (c *completer) split(kind outcomeKind, part []outcome, err error) {
	if n := len(part) / 2; n > 0 {
		c.writeKind(kind, part[:n])
		c.writeKind(kind, part[n:])
		return
	}
	c.isolate(part[0], err)
}

// isolate writes an outcome that the server refuses: with a plain text, if its error's text is what
// is wrong with it, and otherwise as a dead letter. The attempt is spent.
func (c *completer) isolate(o outcome, err error) {
	c.rt.Logger().Error("strunk: an outcome cannot be stored", "queue", c.queue, "task", o.job.id, "error", err)
	if plain, ok := withPlainText(o); ok {
		c.writeKind(o.kind, []outcome{plain})
		return
	}
	o = dead(o.job, &unstorable{core.PlainText(err.Error())})
	o.isolated = true
	c.writeKind(outcomeDead, []outcome{o})
}

// withPlainText returns the outcome with its error's text in ASCII; false where that changes nothing.
func withPlainText(o outcome) (outcome, bool) {
	if o.err == nil || o.isolated {
		return o, false
	}
	text, stack := errorTexts(o.err)
	plain := core.PlainText(*text)
	if plain == *text && (stack == nil || core.PlainText(*stack) == *stack) {
		return o, false
	}
	o.err = errors.New(plain)
	return o, true
}

// report logs and announces the outcomes of one statement. done are the ids of the tasks that it changed.
func (c *completer) report(kind outcomeKind, part []outcome, done []int64, lostAnswer bool) {
	c.counted.settled(part, done)
	if len(done) < len(part) {
		c.reportRefused(part, done, lostAnswer)
	}
	scheduled, failed := false, false
	for _, o := range part {
		scheduled = scheduled || (kind == outcomeRetry && o.delay > 0)
		failed = failed || (kind == outcomeRetry && o.delay == 0 && o.err != nil)
		if o.err != nil {
			c.log(o)
		}
	}
	if failed {
		c.rt.WakeLocal(core.TopicQueue(c.queue))
	}
	if scheduled {
		c.rt.WakeLocal(core.TopicDue)
	}
	if c.results && kind != outcomeRetry {
		c.rt.Wake(core.TopicResult(c.queue))
	}
	if kind == outcomeLate {
		c.hooks.late(c.rt, done)
	}
	if kind == outcomeDead {
		c.hooks.call(slices.DeleteFunc(slices.Clone(part),
			func(o outcome) bool { return !slices.Contains(done, o.job.id) }))
	}
}

// reportRefused logs the outcomes whose tasks were not found under their tokens. Where the answer to an earlier try was
// lost, that try may have been committed.
func (c *completer) reportRefused(part []outcome, done []int64, lostAnswer bool) {
	refused := missing(part, done)
	if lostAnswer {
		ended, err := c.writer.ended(refused)
		if err != nil {
			logWarning(c.rt, c.queue, "looking for what a lost answer had done failed", err)
		}
		c.counted.settled(refused, ended)
		refused = missing(refused, ended)
	}
	for _, o := range refused {
		c.rt.Logger().Warn("strunk: an outcome was refused: the task is no longer this worker's",
			"queue", c.queue, "task", o.job.id, "error", ErrLeaseLost)
	}
}

// log says what became of a failed attempt. The error of one is logged once: middleware may have done so.
func (c *completer) log(o outcome) {
	attrs := []any{"queue", c.queue, "task", o.job.id, "attempt", o.job.attempt}
	logged := o.job.logged.Load()
	if !logged {
		attrs = append(attrs, why(o.err))
	}
	switch {
	case o.kind == outcomeDead:
		c.rt.Logger().Error("strunk: a task became a dead letter", attrs...)
	case o.kind == outcomeCancelled, o.kind == outcomeDiscarded:
		c.rt.Logger().Info("strunk: a task was "+string(statusAfter(o)), attrs...)
	case o.err != nil && !logged:
		c.rt.Logger().Info("strunk: a task's attempt failed", append(attrs, "retry_in", o.delay)...)
	}
}
