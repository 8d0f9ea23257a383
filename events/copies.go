package events

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlCopy copies an event for subscriber $1 in epoch $2; see strunk_copy_event.
	sqlCopy = `SELECT {schema}.strunk_copy_event($1::text, $2::bigint, $3::text, $4::text, $5::bigint, $6::bigint, $7::bigint,
$8::timestamptz, $9::text, $10::text, $11::text, $12::text, $13::integer, $14::integer, $15::text, $16::text, $17::text, $18::bigint,
$19::boolean, $20::boolean)`
	// sqlHeld lists the entities of type $2 that have copies waiting for subscriber $1.
	sqlHeld = `SELECT * FROM {schema}.strunk_held($1::text, $2::text)`
	// sqlRedeliveries lists the entities of type $3 with copies to be redelivered to subscriber $1 in epoch $2, at most $4.
	sqlRedeliveries = `SELECT entity_id, wait_ms FROM {schema}.strunk_redeliveries($1::text, $2::bigint, $3::text, $4::integer)`
	// sqlRedeliver takes the oldest copy of entity $4 and counts the attempt.
	sqlRedeliver = `SELECT id, pos, version, published_at, coalesce(schema_version, ''), payload, metadata, diff, attempts
FROM {schema}.strunk_redeliver($1::text, $2::bigint, $3::text, $4::text)`
	// sqlRedelivered removes copy $3, which was handled.
	sqlRedelivered = `SELECT {schema}.strunk_redelivered($1::text, $2::bigint, $3::bigint)`
	// sqlRedeliveryFailed keeps why copy $3 failed: due again after $7 ms, parked (null), or ($8) a dead letter.
	sqlRedeliveryFailed = `SELECT {schema}.strunk_redelivery_failed($1::text, $2::bigint, $3::bigint, $4::text, $5::text, $6::text, $7::bigint, $8::boolean)`

	// mostRedeliveries bounds the entities of one look.
	mostRedeliveries = 100
)

// heldSet is the set of entities that have copies waiting: their events are copied behind those.
type heldSet struct {
	n   atomic.Int64
	mu  sync.Mutex
	ids map[string]struct{}
	// queued are those whose redelivery is in a lane.
	queued map[string]struct{}
	// more says that the last look was cut off by its limit.
	more bool
}

func (h *heldSet) init() { h.ids, h.queued = map[string]struct{}{}, map[string]struct{}{} }

func (h *heldSet) has(id string) bool {
	if h.n.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.ids[id]
	return ok
}

func (h *heldSet) add(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids[id] = struct{}{}
	h.n.Store(int64(len(h.ids)))
}

func (h *heldSet) remove(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ids, id)
	h.n.Store(int64(len(h.ids)))
}

// enqueue reports whether the entity's redelivery is to be put into its lane: it is not there yet.
func (h *heldSet) enqueue(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.queued[id]; there {
		return false
	}
	h.queued[id] = struct{}{}
	return true
}

// dequeue reports whether it is time for another look: all that the last one found is handled, and it was cut off.
func (h *heldSet) dequeue(id string) (look bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.queued, id)
	return h.more && len(h.queued) == 0
}

func (h *heldSet) setMore(more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.more = more
}

// retrySet is the set of events that have attempts behind them.
type retrySet struct {
	n    atomic.Int64
	mu   sync.Mutex
	keys map[retryKey]struct{}
}

func (r *retrySet) init() { r.keys = map[retryKey]struct{}{} }

func (r *retrySet) has(key retryKey) bool {
	if r.n.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.keys[key]
	return ok
}

func (r *retrySet) add(key retryKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key] = struct{}{}
	r.n.Store(int64(len(r.keys)))
}

// any reports whether attempts may have to be dropped when the cursor passes them.
func (r *retrySet) any() bool { return r.n.Load() > 0 }

func (s *session) loadHeld() error {
	var id string
	return s.query(s.base, false, sqlHeld, []any{s.name, s.def.entityType}, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { s.held.add(id); return nil })
		return err
	})
}

// copyOf describes a copy of an item.
type copyOf struct {
	it      *item
	failure error
	delay   *time.Duration // nil: until a person acts
	dead    bool
	behind  bool
}

// copyEvent keeps a copy of an item for this subscriber. free says that the entity has none to wait behind.
func (s *session) copyEvent(c copyOf) (free bool, v verdict) {
	it, attempts := c.it, c.it.attempt
	if c.behind {
		attempts = 0
	}
	text, stack := errorTexts(c.failure)
	var delay *int64
	if c.delay != nil {
		ms := int64((*c.delay + time.Millisecond - 1) / time.Millisecond)
		delay = &ms
	}
	var outcome string
	err := s.persist("copying an event", func(ctx context.Context) error {
		return s.statement(ctx, false, sqlCopy, []any{s.name, s.place.epoch, s.def.entityType, it.entityID, it.id, it.position, it.version,
			it.publishedAt, orNil(it.schemaVersion), textOf(it.payload), textOf(it.metadataJSON), textOf(it.diffJSON), attempts,
			s.opts.attempts, text, stack, s.by, delay, c.dead, c.behind}, &outcome)
	})
	switch {
	case err != nil:
		return false, stop
	case outcome == "gone":
		s.end(errReload)
		return false, stop
	}
	return outcome == "free", goOn
}

func textOf(doc []byte) *string {
	if doc == nil {
		return nil
	}
	s := string(doc)
	return &s
}

// copyBehind copies an item behind the older copies of its entity, or says that there are none any more.
func (s *session) copyBehind(it *item) (free bool, v verdict) {
	return s.copyEvent(copyOf{it: it, behind: true})
}

// bury makes a copy of an item a dead letter, so that it can be passed.
func (s *session) bury(it *item, failure error) verdict {
	if failure == nil {
		failure = errSkipped
	}
	_, v := s.copyEvent(copyOf{it: it, failure: failure, dead: true})
	if v == goOn {
		s.rt.Logger().Error("strunk: an event became a dead letter of its subscriber", "subscriber", s.name, "position", it.position,
			"entity", it.entityID, "version", it.version, "attempt", it.attempt, why(failure))
	}
	return v
}

var errSkipped = errors.New("skipped by a person")

// failed applies the policies that let a failing event be passed: Park and DeadLetter.
func (s *session) failed(it *item, failure error) verdict {
	spent := errors.Is(failure, ErrPoison) || errors.Is(failure, errLost) || it.attempt >= s.opts.attempts
	if spent && s.opts.policy == DeadLetter {
		return s.bury(it, failure)
	}
	c := copyOf{it: it, failure: failure}
	if !spent {
		delay := s.retryDelay(it.attempt, failure)
		c.delay = &delay
	}
	s.held.add(it.entityID)
	_, v := s.copyEvent(c)
	if v == goOn {
		s.logFailure(it, failure, c.delay)
		signal(s.nudge)
	}
	return v
}

func (s *session) logFailure(it *item, failure error, delay *time.Duration) {
	attrs := []any{"subscriber", s.name, "position", it.position, "entity", it.entityID, "version", it.version, "attempt", it.attempt, why(failure)}
	if delay == nil {
		s.rt.Logger().Error("strunk: an event failed and its entity is parked until a person retries or releases it", attrs...)
		return
	}
	s.rt.Logger().Warn("strunk: an event failed; its entity waits for the next attempt", append(attrs, "retry_in", *delay)...)
}

// redeliveries puts entities whose copies are to be redelivered into their lanes.
func (s *session) redeliveries(stop <-chan struct{}) {
	for {
		wait, err := s.lookForCopies()
		if err != nil && !s.ending() {
			s.logError(s.rt, "looking for copies to redeliver failed", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.nudge:
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
		timer.Stop()
		if s.ending() {
			<-stop
			return
		}
	}
}

// lookForCopies returns when to look again.
func (s *session) lookForCopies() (time.Duration, error) {
	if !s.delivering.Load() {
		return s.poll, nil
	}
	wait := s.poll
	var id string
	var ms *int64
	var due []string
	err := s.query(s.base, false, sqlRedeliveries, []any{s.name, s.place.epoch, s.def.entityType, mostRedeliveries}, func(rows pgx.Rows) error {
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
	s.held.setMore(len(due) == mostRedeliveries)
	for _, id := range due {
		if s.held.enqueue(id) {
			s.held.add(id)
			s.dispatch([]*item{{redeliver: true, entityID: id}})
		}
	}
	return wait, err
}

// redeliver hands an entity's copies over, oldest first, until one fails or none is left. resumed is the outcome of the
// attempt of l.current, which an abandoned goroutine had begun.
func (s *session) redeliver(l *lane, order *item, resumed error) verdict {
	v := goOn
	it := order.copy
	if resumed == nil {
		it, v = s.nextCopy(order)
	}
	for v == goOn && it != nil {
		err := resumed
		resumed = nil
		if err == nil {
			var gone bool
			if gone, err = s.call(l, []*item{it}, s.removing(it)); gone {
				return abandoned
			}
		}
		if err != nil && s.base.Err() != nil {
			v = stop
			break
		}
		var left bool
		if left, v = s.settleCopy(it, err); v != goOn || !left || s.ending() {
			break
		}
		it, v = s.nextCopy(order)
	}
	order.copy = nil
	if s.held.dequeue(order.entityID) {
		signal(s.nudge)
	}
	return v
}

// removing is what commits with a transaction's handler: that the copy is gone.
func (s *session) removing(it *item) func(ctx context.Context, tx *outbox.OwnedTx) error {
	return func(ctx context.Context, tx *outbox.OwnedTx) error {
		if err := tx.Pgx().QueryRow(ctx, s.rt.SQL(sqlRedelivered), s.name, s.place.epoch, it.copyID).Scan(&it.left); err != nil {
			return err
		}
		if it.left == nil {
			s.end(errReload)
			return errReload
		}
		return nil
	}
}

// nextCopy takes the oldest copy of an entity; nil where none is to be redelivered now.
func (s *session) nextCopy(order *item) (*item, verdict) {
	it := &item{entityID: order.entityID}
	err := s.persist("taking a copy", func(ctx context.Context) error {
		return s.statement(ctx, false, sqlRedeliver, []any{s.name, s.place.epoch, s.def.entityType, order.entityID}, &it.copyID, &it.position,
			&it.version, &it.publishedAt, &it.schemaVersion, &it.payload, &it.metadataJSON, &it.diffJSON, &it.attempt)
	})
	if err != nil {
		return nil, stop
	}
	if it.copyID == 0 {
		return nil, goOn
	}
	it.id, it.fromSnapshot = it.copyID, it.position == 0
	order.copy = it
	return it, goOn
}

// settleCopy keeps what became of a copy. left says that another of its entity is to be redelivered now.
func (s *session) settleCopy(it *item, failure error) (left bool, v verdict) {
	again := false
	if failure == nil && !s.work.inTx {
		err := s.persist("removing a copy", func(ctx context.Context) error {
			return s.statement(ctx, false, sqlRedelivered, []any{s.name, s.place.epoch, it.copyID}, &it.left)
		})
		if err != nil {
			return false, stop
		}
	}
	if failure != nil {
		var v verdict
		if again, v = s.copyFailed(it, failure); v != goOn {
			return false, v
		}
	}
	if it.left == nil {
		s.end(errReload)
		return false, stop
	}
	if !*it.left {
		s.held.remove(it.entityID)
	}
	return *it.left && !again, goOn
}

// copyFailed keeps why a copy failed. again says that it stays the entity's first.
func (s *session) copyFailed(it *item, failure error) (again bool, v verdict) {
	spent := errors.Is(failure, ErrPoison) || it.attempt >= s.opts.attempts
	bury := spent && s.opts.policy != Park
	text, stack := errorTexts(failure)
	var delay *int64
	var wait *time.Duration
	if !spent {
		d := s.retryDelay(it.attempt, failure)
		ms := int64((d + time.Millisecond - 1) / time.Millisecond)
		wait, delay = &d, &ms
	}
	err := s.persist("keeping a redelivery's failure", func(ctx context.Context) error {
		return s.statement(ctx, false, sqlRedeliveryFailed, []any{s.name, s.place.epoch, it.copyID, text, stack, s.by, delay, bury}, &it.left)
	})
	if err != nil {
		return false, stop
	}
	s.logFailure(it, failure, wait)
	if !bury {
		signal(s.nudge)
	}
	return !bury, goOn
}
