package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Middleware is code around enqueues and handlers. Each part may be nil. It is given for a whole box
// (outbox.Config.Extensions), for a queue (Config.Middleware), or to a worker as an option, for its handlers alone. Its
// functions are called from several goroutines.
//
// Around a handler the box's middleware is outermost, then the queue's, then the worker's; of a
// list the first is outermost. Around an enqueue the order is the reverse: the queue's is
// outermost, then the box's; of a list the last is outermost. So a task passes a queue's middleware
// on its way into the table in one order and on its way out in the other: what changed a payload
// last sees it first again.
type Middleware struct {
	boxSetting

	// Enqueue is called around an enqueue with the tasks of one call that concern it: those of its queue, or all for
	// a box. The tasks are stored when next returns nil; an error goes to the caller. It must call next once.
	Enqueue func(ctx context.Context, tasks []*Outgoing, next func(context.Context) error) error
	// Work is called around an attempt. What it returns is the attempt's outcome, as what a handler
	// returns. For a handler in a transaction, next returns after the commit.
	Work func(ctx context.Context, task *Incoming, next func(context.Context) error) error
	// Read is called where a stored payload is read without a handler (Get, Claim, DeadLetters): it
	// undoes, as Work does, what Enqueue did to the payload.
	Read func(ctx context.Context, task *Incoming) error
	// Dead is called after a task has become a dead letter, in the process that saw it. A process that is killed at
	// that moment never calls it: it is for alarms; what must not be missed is read from DeadLetters.
	Dead func(ctx context.Context, letter DeadLetter)
	// Late is called after a task was discarded, or has become a dead letter, because it had not begun by
	// its deadline (see BeginBefore), in a process that saw it; Status says which. It is a hook of a box
	// alone: that of a queue or a worker is never called. As with Dead, a process that is killed may not call it.
	Late func(ctx context.Context, letter DeadLetter)
}

type middlewareKey struct{}

type boxSetting = core.Extends

func init() {
	core.AddExtension(func(m Middleware) (key, value any) { return middlewareKey{}, extension{m} })
}

// extension is the middleware of a box.
type extension struct{ Middleware }

// DeadLettered implements core.DeadLetterHook: the rescue has made dead letters of tasks whose worker was lost.
func (e extension) DeadLettered(ctx context.Context, host core.Host, ids []int64) {
	if e.Dead != nil {
		callByID(ctx, host, e.Dead, outbox.EndedDead, ids)
	}
}

// TasksLate implements core.LateHook.
func (e extension) TasksLate(ctx context.Context, host core.Host, ids []int64) {
	if e.Dead != nil {
		callByID(ctx, host, e.Dead, outbox.EndedDead, ids)
	}
	if e.Late != nil {
		callByID(ctx, host, e.Late, outbox.EndedDead, ids)
		callByID(ctx, host, e.Late, outbox.EndedDiscarded, ids)
	}
}

func (m Middleware) applyWorker(o *workerOptions) { o.middleware = append(o.middleware, m) }

// middlewares returns those of the box and the given ones, the nearest to the database first.
func middlewares(host core.Host, lists ...[]Middleware) (all []Middleware) {
	if values, ok := host.Extension(middlewareKey{}).([]any); ok {
		for _, v := range values {
			all = append(all, v.(extension).Middleware)
		}
	}
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// Outgoing is what middleware sees of a task that is being enqueued.
type Outgoing struct {
	item *Item
	done Enqueued
}

// Queue returns the queue's name.
func (o *Outgoing) Queue() string { return o.item.def.name }

// Payload returns the payload's JSON. Do not change it in place.
func (o *Outgoing) Payload() json.RawMessage { return o.item.doc }

// SetPayload replaces the payload; doc must be valid JSON, or the enqueue fails.
func (o *Outgoing) SetPayload(doc json.RawMessage) { o.item.doc, o.item.replaced = doc, true }

// Metadata returns the value of a key of the metadata, or "".
func (o *Outgoing) Metadata(key string) string { return o.item.opts.metadata[key] }

// SetMetadata adds to the metadata.
func (o *Outgoing) SetMetadata(key, value string) {
	m := make(map[string]string, len(o.item.opts.metadata)+1)
	for k, v := range o.item.opts.metadata {
		m[k] = v
	}
	m[key] = value
	o.item.opts.metadata = m
}

// Enqueued returns the answer, once next has returned nil.
func (o *Outgoing) Enqueued() Enqueued { return o.done }

// Incoming is what middleware sees of a stored task.
type Incoming struct{ j *job }

// ID is the task's id.
func (i *Incoming) ID() int64 { return i.j.id }

// Queue is the queue's name.
func (i *Incoming) Queue() string { return i.j.queue }

// Attempt is the number of this attempt, 1 for the first.
func (i *Incoming) Attempt() int { return i.j.attempt }

// MaxAttempts is how often the task is tried.
func (i *Incoming) MaxAttempts() int { return i.j.maxAttempts }

// CreatedAt is when the task was enqueued, by the database's clock.
func (i *Incoming) CreatedAt() time.Time { return i.j.createdAt }

// DueAt is since when the task could begin this attempt, by the database's clock: after its delay or its backoff.
func (i *Incoming) DueAt() time.Time {
	if i.j.dueAt.Before(i.j.createdAt) {
		return i.j.createdAt
	}
	return i.j.dueAt
}

// Payload returns the payload's JSON. Do not change it in place.
func (i *Incoming) Payload() json.RawMessage { return i.j.payload }

// SetPayload replaces what the handler, and middleware further in, will see.
func (i *Incoming) SetPayload(doc json.RawMessage) { i.j.payload = doc }

// Metadata returns the task's metadata. Metadata that was written by hand and is no object of
// strings is an [ErrPoison].
func (i *Incoming) Metadata() (m map[string]string, err error) {
	return m, decode(i.j.metadataJSON, &m)
}

// through wraps a handler in middleware.
func through(w work, chain []Middleware) work {
	for n := len(chain) - 1; n >= 0; n-- {
		if around, inner := chain[n].Work, w; around != nil {
			w = func(ctx context.Context, j *job) error {
				return around(ctx, &Incoming{j}, func(ctx context.Context) error { return inner(ctx, j) })
			}
		}
	}
	return w
}

// readThrough undoes for a reader what middleware did to a payload.
func readThrough(ctx context.Context, j *job, chain []Middleware) error {
	for _, m := range chain {
		if m.Read == nil {
			continue
		}
		if err := m.Read(ctx, &Incoming{j}); err != nil {
			return err
		}
	}
	return nil
}

// layer is one middleware around some of the tasks of an enqueue.
type layer struct {
	around func(context.Context, []*Outgoing, func(context.Context) error) error
	tasks  []*Outgoing
}

// wrapped reports whether any middleware is around these items' enqueue. It is all that an enqueue without pays.
func wrapped(host core.Host, items []Item) bool {
	if host.Extension(middlewareKey{}) != nil {
		return true
	}
	for _, item := range items {
		if len(item.def.cfg.Middleware) > 0 {
			return true
		}
	}
	return false
}

// layers returns what is around an enqueue, the nearest to the database first.
func layers(host core.Host, tasks []*Outgoing) (all []layer) {
	add := func(list []Middleware, tasks []*Outgoing) {
		for _, m := range list {
			if m.Enqueue != nil {
				all = append(all, layer{m.Enqueue, tasks})
			}
		}
	}
	add(middlewares(host), tasks)
	groups, order := map[*definition][]*Outgoing{}, []*definition(nil)
	for _, t := range tasks {
		if groups[t.item.def] == nil {
			order = append(order, t.item.def)
		}
		groups[t.item.def] = append(groups[t.item.def], t)
	}
	for _, def := range order {
		add(def.cfg.Middleware, groups[def])
	}
	return all
}

var (
	errNextTwice = errors.New("a middleware called next twice")
	errNoNext    = errors.New("a middleware returned without an error and without calling next; nothing was enqueued")
)

// enqueueThrough sends items through their middleware.
func enqueueThrough(ctx context.Context, tx outbox.Tx, what string, items []Item) (done []Enqueued, err error) {
	items = append([]Item(nil), items...)
	tasks := make([]*Outgoing, len(items))
	for i := range items {
		tasks[i] = &Outgoing{item: &items[i]}
	}
	sent := false
	next := func(ctx context.Context) error {
		if sent {
			return fmt.Errorf("strunk/queue: %s: %w: %w", what, errNextTwice, ErrInvalid)
		}
		sent = true
		done, err = sendItems(ctx, tx, what, items)
		for i, e := range done {
			tasks[i].done = e
		}
		return err
	}
	for _, l := range layers(core.TxOf(tx).Host(), tasks) {
		inner := next
		next = func(ctx context.Context) error { return l.around(ctx, l.tasks, inner) }
	}
	if err := next(ctx); err != nil {
		return nil, err
	}
	if !sent {
		return nil, fmt.Errorf("strunk/queue: %s: %w: %w", what, errNoNext, ErrInvalid)
	}
	return done, nil
}
