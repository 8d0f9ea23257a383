package events

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlDueDeliveries lists the entities of type $3 with deliveries for subscriber $1 in epoch $2
	// that are due, at most $4.
	sqlDueDeliveries = `SELECT entity_id, wait_ms FROM {schema}.strunk_due_deliveries($1::text, $2::bigint,
		$3::text, $4::integer)`
	// sqlTakeDelivery claims the oldest delivery of entity $4 and counts the attempt.
	sqlTakeDelivery = `SELECT id, pos, version, published_at, coalesce(schema_version, ''), payload, metadata,
		diff, attempts
FROM {schema}.strunk_take_delivery($1::text, $2::bigint, $3::text, $4::text)`
	// sqlDeliveryHandled removes delivery $3, which was handled.
	sqlDeliveryHandled = `SELECT {schema}.strunk_delivery_handled($1::text, $2::bigint, $3::bigint)`
	// sqlDeliveryFailed stores why delivery $3 failed: retried after $7 ms, parked (null), or ($8) a dead letter.
	sqlDeliveryFailed = `SELECT {schema}.strunk_delivery_failed($1::text, $2::bigint, $3::bigint, $4::text,
		$5::text, $6::text, $7::bigint, $8::boolean)`

	// maxDueEntities bounds the entities of one look.
	maxDueEntities = 100
)

// redelivery hands deliveries that are due to the handler, those of an entity in its lane, oldest first.
type redelivery struct {
	t          *tenure
	deliveries *deliveries
	lanes      *lanes
	caller     *caller
	delivering *atomic.Bool    // not paused
	resumed    <-chan struct{} // signalled when delivering changes

	mu     sync.Mutex
	queued map[string]struct{} // entities that are in their lane
	more   bool                // the last look was cut off by its limit
}

func newRedelivery(t *tenure, d *deliveries, lanes *lanes, c *caller, p *placeCheck) *redelivery {
	return &redelivery{t: t, deliveries: d, lanes: lanes, caller: c, delivering: &p.delivering, resumed: p.changed,
		queued: map[string]struct{}{}}
}

// run puts entities with due deliveries into their lanes until stop is closed.
func (r *redelivery) run(stop <-chan struct{}) {
	for {
		wait, err := r.find()
		if err != nil && !r.t.ending() {
			r.t.logError(r.t.rt, "looking for due deliveries failed", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.deliveries.look:
		case <-r.resumed:
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
		timer.Stop()
		if r.t.ending() {
			<-stop
			return
		}
	}
}

// find looks for due deliveries and returns when to look again.
func (r *redelivery) find() (wait time.Duration, err error) {
	if !r.delivering.Load() {
		return r.t.poll, nil
	}
	wait = r.t.poll
	var id string
	var ms *int64
	var due []string
	err = r.t.query(r.t.base, unflushed, sqlDueDeliveries,
		[]any{r.t.name, r.t.epoch, r.t.def.entityType, maxDueEntities}, func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&id, &ms}, func() error {
				if ms == nil {
					due = append(due, id)
				} else {
					wait = min(wait, time.Duration(*ms)*time.Millisecond)
				}
				return nil
			})
			return err
		})
	for _, id := range r.enqueue(due) {
		r.deliveries.mark(id)
		r.lanes.putDelivery(&item{redeliver: true, entityID: id})
	}
	return wait, err
}

// enqueue returns the entities that are not in their lane yet, and remembers that they are.
func (r *redelivery) enqueue(due []string) (fresh []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = len(due) == maxDueEntities
	for _, id := range due {
		if _, there := r.queued[id]; !there {
			r.queued[id] = struct{}{}
			fresh = append(fresh, id)
		}
	}
	return fresh
}

// dequeue reports whether it is time for another look: all that the last one found is handled, and it was cut off.
func (r *redelivery) dequeue(id string) (look bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.queued, id)
	return r.more && len(r.queued) == 0
}

// handle hands an entity's deliveries over, oldest first, until one fails or none is left. A resumed error is that of
// the attempt at command.delivery which a goroutine, abandoned since, had begun; nil where there was none.
func (r *redelivery) handle(l *lane, command *item, resumed error) verdict {
	v, it := goOn, command.delivery
	if resumed == nil {
		it, v = r.take(command)
	}
	for v == goOn && it != nil {
		err := resumed
		if resumed = nil; err != nil {
			r.caller.counted.failed()
		}
		if err == nil {
			var gone bool
			if gone, err = r.caller.call(l, []*item{it}, r.removing(it)); gone {
				return abandoned
			}
		}
		if err != nil && r.t.base.Err() != nil {
			v = stop
			break
		}
		var next bool
		if next, v = r.settle(it, err); v != goOn || !next || r.t.ending() {
			break
		}
		it, v = r.take(command)
	}
	command.delivery = nil
	if r.dequeue(command.entityID) {
		signal(r.deliveries.look)
	}
	return v
}

// take claims the oldest delivery of an entity; nil where none is due.
func (r *redelivery) take(command *item) (*item, verdict) {
	it := &item{entityID: command.entityID}
	err := r.t.persist("claiming a delivery", func(ctx context.Context) error {
		return r.t.statement(ctx, flushed, sqlTakeDelivery,
			[]any{r.t.name, r.t.epoch, r.t.def.entityType, command.entityID}, &it.deliveryID, &it.position,
			&it.version, &it.publishedAt, &it.schemaVersion, &it.payload, &it.metadataJSON, &it.diffJSON, &it.attempt)
	})
	if err != nil {
		return nil, stop
	}
	if it.deliveryID == 0 {
		return nil, goOn
	}
	it.id, it.fromSnapshot = it.deliveryID, it.position == 0
	command.delivery = it
	return it, goOn
}

// removing is what commits with a transaction's handler: that the delivery is gone.
func (r *redelivery) removing(it *item) settlement {
	return settlement{in: func(ctx context.Context, tx *outbox.OwnedTx) error {
		if err := tx.Pgx().QueryRow(ctx, r.t.rt.SQL(sqlDeliveryHandled), r.t.name, r.t.epoch,
			it.deliveryID).Scan(&it.left); err != nil {
			return err
		}
		if it.left == nil {
			r.t.reload("its epoch is over, or a delivery in hand was changed")
			return errReload
		}
		return nil
	}, committed: func() {}}
}

// settle stores what became of a delivery. next says that another of its entity is due.
func (r *redelivery) settle(it *item, failure error) (next bool, v verdict) {
	again := false
	switch {
	case failure != nil:
		again, v = r.failed(it, failure)
	case !r.t.work.inTx:
		v = r.handled(it)
	}
	if v != goOn {
		return false, v
	}
	if it.left == nil {
		r.t.reload("its epoch is over, or a delivery in hand was changed")
		return false, stop
	}
	if !*it.left {
		r.deliveries.unmark(it.entityID)
	}
	return *it.left && !again, goOn
}

func (r *redelivery) handled(it *item) verdict {
	err := r.t.persist("removing a delivery", func(ctx context.Context) error {
		return r.t.statement(ctx, flushed, sqlDeliveryHandled, []any{r.t.name, r.t.epoch, it.deliveryID}, &it.left)
	})
	if err != nil {
		return stop
	}
	return goOn
}

// failed stores why a delivery failed. again says that it stays the entity's first.
func (r *redelivery) failed(it *item, failure error) (again bool, v verdict) {
	spent := isSpent(it, failure, r.t.opts.attempts)
	dead := spent && r.t.opts.policy != Park
	var delay *time.Duration
	if !spent {
		wait := r.t.retryDelay(it.attempt, failure)
		delay = &wait
	}
	err := r.t.persistFailure("storing a delivery's failure", failure,
		func(ctx context.Context, text, stack *string) error {
			args := []any{r.t.name, r.t.epoch, it.deliveryID, text, stack, r.t.process(), milliseconds(delay), dead}
			return r.t.statement(ctx, flushed, sqlDeliveryFailed, args, &it.left)
		})
	if err != nil {
		return false, stop
	}
	if dead {
		r.deliveries.logDead(it, failure)
		return false, goOn
	}
	r.deliveries.logFailure(it, failure, delay)
	signal(r.deliveries.look)
	return true, goOn
}
