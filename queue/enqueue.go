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

// sqlEnqueueOne adds a task without a dedup key to the caller's transaction.
const sqlEnqueueOne = `SELECT 1, {schema}.strunk_enqueue_one($1::text, $2::text, $3::smallint, $4::smallint, $5::bigint,
	$6::timestamptz, $7::integer, $8::text, $9::boolean, $10::text), false`

// sqlEnqueue adds tasks to the caller's transaction in one statement; see strunk_enqueue_many for what it locks.
const sqlEnqueue = `SELECT ord, id, duplicate FROM {schema}.strunk_enqueue_many($1::text[], $2::text[], $3::smallint[],
$4::smallint[], $5::bigint[], $6::timestamptz[], $7::text[], $8::integer[], $9::text[], $10::boolean, $11::text[])`

func newItem(def *definition, payload any, opts []EnqueueOption) Item {
	item := Item{def: def, opts: applyEnqueue(opts)}
	item.doc, item.err = encode(def, payload)
	def.cfg.Dedup.apply(&item)
	item.err = errors.Join(item.err, item.opts.check())
	return item
}

func applyEnqueue(opts []EnqueueOption) (o enqueueOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyEnqueue(&o)
		}
	}
	return o
}

// encode checks a payload as far as PostgreSQL would refuse it later.
func encode(def *definition, payload any) ([]byte, error) {
	doc, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("the payload cannot be written as JSON: %w", err)
	}
	if err := core.CheckJSON(doc, def.cfg.MaxPayload); err != nil {
		return nil, fmt.Errorf("the payload %w", err)
	}
	return doc, core.CheckStrings(payload, doc)
}

// params are the arrays of one statement: of full length, of length one where all items agree, or nil for the default.
type params struct {
	queues, payloads, dedups, metadata, customerKeys []*string
	priorities, attempts                             []*int16
	delays                                           []*int64
	dues                                             []*time.Time
	timeouts                                         []*int32
	batch                                            int64 // of all items; 0: none
	// by item; nil where all hold their key until done
	dedupModes map[int]dedupMode
	deadlines  deadlines
}

func (p *params) args(notify bool) []any {
	return []any{shrink(p.queues), p.payloads, shrink(p.priorities), shrink(p.attempts), shrink(p.delays),
		shrink(p.dues),
		blank(p.dedups), shrink(p.timeouts), shrink(p.metadata), notify, shrink(p.customerKeys)}
}

// alone reports whether there is but one task, without a dedup key and in no batch.
func (p *params) alone() bool {
	return len(p.payloads) == 1 && p.dedups[0] == nil && p.batch == 0
}

// argsOfOne are the arguments of sqlEnqueueOne.
func (p *params) argsOfOne(notify bool) []any {
	return []any{p.queues[0], p.payloads[0], p.priorities[0], p.attempts[0], p.delays[0], p.dues[0], p.timeouts[0],
		p.metadata[0], notify, p.customerKeys[0]}
}

// shrink makes an array of equal values one of length one, which stands for all, and one of nothing but nils nil.
func shrink[T comparable](items []*T) []*T {
	if len(items) == 0 {
		return nil
	}
	for _, item := range items[1:] {
		if (item == nil) != (items[0] == nil) || (item != nil && *item != *items[0]) {
			return items
		}
	}
	if items[0] == nil {
		return nil
	}
	return items[:1]
}

// blank makes an array of nothing but nils nil.
func blank[T any](items []*T) []*T {
	for _, item := range items {
		if item != nil {
			return items
		}
	}
	return nil
}

func (p *params) add(def *definition, doc *string, o enqueueOptions) error {
	meta, err := metadataJSON(o.metadata)
	if err != nil {
		return err
	}
	if len(p.queues) > 0 && o.batch != p.batch {
		return fmt.Errorf("InBatch: the tasks of one call must be of one batch: %w", ErrInvalid)
	}
	p.batch = o.batch
	if o.dedupMode.name != "" {
		p.addMode(len(p.queues), o.dedupMode)
	}
	p.deadlines.add(len(p.queues), def, o)
	p.queues = append(p.queues, &def.name)
	p.payloads = append(p.payloads, doc)
	p.priorities = append(p.priorities, small(o.priority, def.cfg.Priority))
	p.attempts = append(p.attempts, small(o.maxAttempts, def.cfg.MaxAttempts))
	p.delays = append(p.delays, millis[int64](o.delay))
	p.dues = append(p.dues, o.due)
	p.dedups = append(p.dedups, o.dedupKey)
	p.timeouts = append(p.timeouts, millis[int32](o.timeout))
	p.metadata = append(p.metadata, meta)
	p.customerKeys = append(p.customerKeys, o.customerKey)
	return nil
}

func small(v *int, otherwise int) *int16 {
	n := int16(otherwise)
	if v != nil {
		n = int16(*v)
	}
	return &n
}

// millis rounds up: a delay is never cut short.
func millis[N int32 | int64](d *time.Duration) *N {
	if d == nil {
		return nil
	}
	n := N(*d / time.Millisecond)
	if *d%time.Millisecond > 0 {
		n++
	}
	return &n
}

func metadataJSON(m map[string]string) (*string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	doc, err := json.Marshal(m)
	if err == nil {
		err = core.CheckJSON(doc, DefaultMaxPayload)
	}
	if err != nil {
		return nil, fmt.Errorf("Metadata: the document %w: %w", err, ErrInvalid)
	}
	if err := core.CheckStrings(m, doc); err != nil {
		return nil, fmt.Errorf("Metadata: %w: %w", err, ErrInvalid)
	}
	s := string(doc)
	return &s, nil
}

func enqueue(ctx context.Context, tx outbox.Tx, what string, items []Item) ([]Enqueued, error) {
	items, err := askValidators(ctx, tx, what, items)
	if err != nil {
		return nil, err
	}
	var p params
	var problems []error
	for i, item := range items {
		if err := addItem(&p, item); err != nil {
			problems = append(problems, itemError(what, i, len(items), item, err))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return dispatch(ctx, tx, what, items, p)
}

// dispatch sends what has been checked: at once, or through middleware.
func dispatch(ctx context.Context, tx outbox.Tx, what string, items []Item, p params) ([]Enqueued, error) {
	t, err := usable(ctx, tx, what)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	if wrapped(t.Host(), items) {
		return enqueueThrough(ctx, tx, what, items)
	}
	return send(ctx, t, what, p)
}

// sendItems checks and sends what middleware has changed.
func sendItems(ctx context.Context, tx outbox.Tx, what string, items []Item) ([]Enqueued, error) {
	var p params
	for i := range items {
		item := items[i]
		if item.replaced {
			item.err = checkReplaced(item)
		}
		if err := addItem(&p, item); err != nil {
			return nil, itemError(what, i, len(items), item, err)
		}
	}
	t, err := usable(ctx, tx, what)
	if err != nil {
		return nil, err
	}
	return send(ctx, t, what, p)
}

// checkReplaced checks a payload that middleware has made. It may be larger than what it was made
// from, as ciphertext is.
func checkReplaced(item Item) error {
	if !json.Valid(item.doc) {
		return errors.New("the payload that a middleware has set is not valid JSON")
	}
	if err := core.CheckJSON(item.doc, 2*item.def.cfg.MaxPayload+replacedSlack); err != nil {
		return fmt.Errorf("the payload that a middleware has set %w", err)
	}
	return nil
}

// replacedSlack is what a middleware's envelope may add, besides doubling the payload.
const replacedSlack = 4 << 10

func addItem(p *params, item Item) error {
	if item.def == nil {
		return fmt.Errorf("the zero Item is unusable: make it with Queue.Item: %w", ErrInvalid)
	}
	if item.def.err != nil {
		return item.def.err
	}
	if item.err != nil {
		return fmt.Errorf("%w: %w", item.err, ErrInvalid)
	}
	doc := string(item.doc)
	return p.add(item.def, &doc, item.opts)
}

func itemError(what string, i, n int, item Item, err error) error {
	name := ""
	if item.def != nil {
		name = clip(item.def.name)
	}
	if n > 1 {
		what = fmt.Sprintf("%s: item %d of %d", what, i+1, n)
	}
	return fmt.Errorf("strunk/queue: %s: queue %q: %w", what, name, err)
}

func enqueueBatch[T any](ctx context.Context, tx outbox.Tx, def *definition, payloads []T,
	opts []EnqueueOption) ([]Enqueued, error) {
	const what = "enqueue batch"
	o := applyEnqueue(opts)
	err := o.check()
	if o.dedupKey != nil {
		err = errors.Join(err, errors.New("DedupKey: one key cannot hold for a whole batch; use EnqueueAll"))
	}
	if err != nil {
		return nil, itemError(what, 0, 1, Item{def: def}, fmt.Errorf("%w: %w", err, ErrInvalid))
	}
	items := make([]Item, len(payloads))
	for i, payload := range payloads {
		items[i] = Item{def: def, opts: o}
		items[i].doc, items[i].err = encode(def, payload)
		def.cfg.Dedup.apply(&items[i])
	}
	if items, err = askValidators(ctx, tx, what, items); err != nil {
		return nil, err
	}
	p := params{payloads: make([]*string, 0, len(payloads))}
	for i := range items {
		if err := addItem(&p, items[i]); err != nil {
			return nil, itemError(what, i, len(payloads), items[i], err)
		}
	}
	return dispatch(ctx, tx, what, items, p)
}

// usable returns why a transaction cannot be used.
func usable(ctx context.Context, tx outbox.Tx, what string) (core.Tx, error) {
	if tx == nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w: pass one from Box.InTx, Box.Begin, Box.Tx or Box.SQLTx", what,
			outbox.ErrInvalidTx)
	}
	t := core.TxOf(tx)
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	if err := ctx.Err(); err != nil { // a driver may break a transaction whose context has ended
		return nil, fmt.Errorf("strunk/queue: %s: nothing was sent: %w", what, err)
	}
	return t, nil
}

// send runs the statement.
func send(ctx context.Context, t core.Tx, what string, p params) ([]Enqueued, error) {
	done := make([]Enqueued, len(p.payloads))
	sql, args, scan := sqlEnqueue, p.args, scanEnqueued
	switch {
	case p.dedupModes != nil:
		sql, args, scan = sqlEnqueueDedup, p.dedupArgs, scanEnqueuedDedup
	case p.alone():
		sql, args = sqlEnqueueOne, p.argsOfOne
	}
	inside := t.NotifyInside()
	arguments := args(inside)
	if p.batch != 0 {
		sql, arguments = toBatch(sql), append([]any{p.batch}, arguments...)
	}
	err := t.Query(ctx, t.Host().SQL(sql), arguments,
		func(rows core.Rows) error { return scan(rows, done) })
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	if err := p.deadlines.set(ctx, t, done); err != nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	announce(t, inside, p)
	countEnqueued(t, p, done)
	return done, nil
}

func scanEnqueued(rows core.Rows, done []Enqueued) error {
	for rows.Next() {
		var ord int
		var e Enqueued
		if err := rows.Scan(&ord, &e.ID, &e.Duplicate); err != nil {
			return err
		}
		if err := refused(ord); err != nil {
			return err
		}
		done[ord-1] = e
	}
	return rows.Err()
}

// refused is what the number of an item says where it is not from 1 on: nothing was added.
func refused(ord int) error {
	switch ord {
	case 0:
		return ErrDedupBusy
	case -1:
		return ErrBatchEnded
	}
	return nil
}

// countEnqueued counts what was added.
func countEnqueued(t core.Tx, p params, done []Enqueued) {
	for i := 0; i < len(done); {
		name, n := *p.queues[i], 0
		for ; i < len(done) && *p.queues[i] == name; i++ {
			if !done[i].Duplicate {
				n++
			}
		}
		if n > 0 {
			t.Enqueued(name, n)
		}
	}
}

func announce(t core.Tx, inside bool, p params) {
	last := ""
	for i, name := range p.queues {
		if *name != last {
			last = *name
			core.Announce(t, inside, core.TopicQueue(last))
		}
		if p.delays[i] != nil || p.dues[i] != nil {
			core.Announce(t, inside, core.TopicDue)
		}
	}
}
