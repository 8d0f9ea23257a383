package events

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// sqlAddDelivery adds a delivery for subscriber $1 in epoch $2; see strunk_add_delivery.
	sqlAddDelivery = `SELECT {schema}.strunk_add_delivery($1::text, $2::bigint, $3::text, $4::text, $5::bigint,
		$6::bigint, $7::bigint,
$8::timestamptz, $9::text, $10::text, $11::text, $12::text, $13::integer, $14::integer, $15::text, $16::text,
$17::text, $18::text, $19::bigint)`
	// sqlDeliveryEntities lists the entities of type $2 that have deliveries for subscriber $1.
	sqlDeliveryEntities = `SELECT * FROM {schema}.strunk_delivery_entities($1::text, $2::text)`
)

// States of a delivery that is added, as in strunk_add_delivery.
const (
	deliveryRetrying = "retrying"
	deliveryParked   = "parked"
	deliveryWaiting  = "waiting"
	deliveryDead     = "dead"
)

// deliveries adds copies of events for this subscriber alone, which is what the policies Park and
// DeadLetter do with a failing event, and knows which entities have any: their later events wait
// behind those.
type deliveries struct {
	t *tenure
	// look is signalled when deliveries may have become due.
	look chan struct{}

	n        atomic.Int64 // of entities
	mu       sync.Mutex
	entities map[string]struct{}
}

func newDeliveries(t *tenure) *deliveries {
	return &deliveries{t: t, look: make(chan struct{}, 1), entities: map[string]struct{}{}}
}

// load reads which entities have deliveries.
func (d *deliveries) load() error {
	var id string
	return d.t.query(d.t.base, unflushed, sqlDeliveryEntities, []any{d.t.name, d.t.def.entityType},
		func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&id}, func() error { d.mark(id); return nil })
			return err
		})
}

// has reports whether an entity may have deliveries.
func (d *deliveries) has(entityID string) bool {
	if d.n.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.entities[entityID]
	return ok
}

// mark remembers that an entity may have deliveries.
func (d *deliveries) mark(entityID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entities[entityID] = struct{}{}
	d.n.Store(int64(len(d.entities)))
}

// unmark remembers that an entity has none.
func (d *deliveries) unmark(entityID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.entities, entityID)
	d.n.Store(int64(len(d.entities)))
}

// add stores a delivery of an item. free says that a waiting one has none to wait behind, and was not added.
func (d *deliveries) add(it *item, state string, failure error, delay *time.Duration) (free bool, v verdict) {
	t, attempts := d.t, it.attempt
	if state == deliveryWaiting {
		attempts = 0
	}
	var outcome string
	err := t.persistFailure("adding a delivery", failure, func(ctx context.Context, text, stack *string) error {
		return t.statement(ctx, flushed, sqlAddDelivery, []any{t.name, t.epoch, t.def.entityType, it.entityID, it.id,
			it.position, it.version,
			it.publishedAt, orNil(it.schemaVersion), textOf(it.payload), textOf(it.metadataJSON),
			textOf(it.diffJSON), attempts,
			t.opts.attempts, text, stack, t.process(), state, milliseconds(delay)}, &outcome)
	})
	switch {
	case err != nil:
		return false, stop
	case outcome == "epoch_over":
		t.reload("its epoch is over")
		return false, stop
	}
	return outcome == "free", goOn
}

// milliseconds rounds up; nil stays nil.
func milliseconds(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	ms := int64((*d + time.Millisecond - 1) / time.Millisecond)
	return &ms
}

func textOf(doc []byte) *string {
	if doc == nil {
		return nil
	}
	s := string(doc)
	return &s
}

// wait has an item wait behind the deliveries of its entity, or says that there are none any more.
func (d *deliveries) wait(it *item) (free bool, v verdict) {
	free, v = d.add(it, deliveryWaiting, nil, nil)
	if free {
		d.unmark(it.entityID)
	}
	return free, v
}

// deadLetter makes a copy of an item a dead letter, so that the item can be passed.
func (d *deliveries) deadLetter(it *item, failure error) verdict {
	_, v := d.add(it, deliveryDead, failure, nil)
	if v == goOn {
		d.logDead(it, failure)
	}
	return v
}

func (d *deliveries) logDead(it *item, failure error) {
	d.t.rt.Logger().Error("strunk: an event became a dead letter of its subscriber",
		append(d.attrs(it), why(failure))...)
}

// park applies the policies that let a failing event be passed: Park and DeadLetter.
func (d *deliveries) park(it *item, failure error) verdict {
	spent := isSpent(it, failure, d.t.opts.attempts)
	if spent && d.t.opts.policy == DeadLetter {
		return d.deadLetter(it, failure)
	}
	state, delay := deliveryParked, (*time.Duration)(nil)
	if !spent {
		wait := d.t.retryDelay(it.attempt, failure)
		state, delay = deliveryRetrying, &wait
	}
	d.mark(it.entityID)
	_, v := d.add(it, state, failure, delay)
	if v == goOn {
		d.logFailure(it, failure, delay)
		signal(d.look)
	}
	return v
}

// isSpent reports whether more attempts are of no use to an item.
func isSpent(it *item, failure error, maxAttempts int) bool {
	return errors.Is(failure, ErrPoison) || errors.Is(failure, errLost) || it.attempt >= maxAttempts
}

func (d *deliveries) attrs(it *item) []any {
	return []any{"subscriber", d.t.name, "position", it.position, "entity", it.entityID, "version", it.version,
		"attempt", it.attempt}
}

func (d *deliveries) logFailure(it *item, failure error, delay *time.Duration) {
	attrs := append(d.attrs(it), why(failure))
	if delay == nil {
		d.t.rt.Logger().Error("strunk: an event failed and its entity is parked until a person retries or "+
			"releases it", attrs...)
		return
	}
	d.t.rt.Logger().Warn("strunk: an event failed; its entity waits for the next attempt",
		append(attrs, "retry_in", *delay)...)
}
