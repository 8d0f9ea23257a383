package events

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// sqlCountAttempt counts an attempt of subscriber $1 in epoch $2 at position $3, entity $4,
	// which has had at least $5.
	sqlCountAttempt = `SELECT attempts, skip FROM {schema}.strunk_count_attempt($1::text, $2::bigint,
		$3::bigint, $4::text, $5::integer)`
	// sqlAttemptFailed stores why attempt $5 failed.
	sqlAttemptFailed = `SELECT {schema}.strunk_attempt_failed($1::text, $2::bigint, $3::bigint, $4::text,
		$5::integer, $6::text, $7::text, $8::text)`
	// sqlClearAttempts drops the attempts of the event at position $3, entity $4.
	sqlClearAttempts = `SELECT {schema}.strunk_clear_attempts($1::text, $2::bigint, $3::bigint, $4::text)`
	// sqlSkipped tells whether a person has asked to skip the event.
	sqlSkipped = `SELECT skip FROM {schema}.strunk_retries WHERE subscriber = $1 AND position = $2 AND entity_id = $3`
	// sqlAttempts lists the events of subscriber $1 that have attempts behind them.
	sqlAttempts = `SELECT position, entity_id FROM {schema}.strunk_retries WHERE subscriber = $1`
)

// attemptKey is what an event's attempts are stored under.
type attemptKey struct {
	position int64
	entityID string // of a snapshot
}

// attempts stores the attempts of events that have failed, or that an owner that was lost may have
// begun, and knows which events have any. Other events are tried without a write.
type attempts struct {
	t *tenure

	n    atomic.Int64 // of keys
	mu   sync.Mutex
	keys map[attemptKey]struct{}
}

func newAttempts(t *tenure) *attempts { return &attempts{t: t, keys: map[attemptKey]struct{}{}} }

// load reads which events have attempts behind them.
func (a *attempts) load() error {
	var key attemptKey
	return a.t.query(a.t.base, unflushed, sqlAttempts, []any{a.t.name}, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&key.position, &key.entityID}, func() error { a.add(key); return nil })
		return err
	})
}

func (a *attempts) has(key attemptKey) bool {
	if a.n.Load() == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.keys[key]
	return ok
}

func (a *attempts) add(key attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[key] = struct{}{}
	a.n.Store(int64(len(a.keys)))
}

// any reports whether attempts may have to be dropped when the cursor passes them.
func (a *attempts) any() bool { return a.n.Load() > 0 }

// count stores an attempt before it is made: it.attempt is its number then. least is how many the
// event has had at least. skip says that a person has asked to skip the event.
func (a *attempts) count(it *item, least int) (skip bool, v verdict) {
	key := it.attemptKey()
	counted := -1
	err := a.t.persist("counting an attempt", func(ctx context.Context) error {
		return a.t.statement(ctx, flushed, sqlCountAttempt,
			[]any{a.t.name, a.t.epoch, key.position, key.entityID, least}, &counted, &skip)
	})
	switch {
	case err != nil:
		return false, stop
	case counted < 0:
		a.t.reload("its epoch is over")
		return false, stop
	}
	a.add(key)
	it.attempt = counted
	return skip, goOn
}

// clear drops the attempts of an item that was handled.
func (a *attempts) clear(it *item) verdict {
	key := it.attemptKey()
	err := a.t.persist("dropping an event's attempts", func(ctx context.Context) error {
		return a.t.guarded(ctx, flushed, sqlClearAttempts, a.t.name, a.t.epoch, key.position, key.entityID)
	})
	if err != nil {
		return stop
	}
	return goOn
}

// failed stores why an attempt failed.
func (a *attempts) failed(it *item, failure error) (skip bool, v verdict) {
	key := it.attemptKey()
	var asked *bool
	err := a.t.persistFailure("storing an attempt's failure", failure,
		func(ctx context.Context, text, stack *string) error {
			args := []any{a.t.name, a.t.epoch, key.position, key.entityID, it.attempt, text, stack, a.t.process()}
			return a.t.statement(ctx, flushed, sqlAttemptFailed, args, &asked)
		})
	switch {
	case err != nil:
		return false, stop
	case asked == nil:
		a.t.reload("its epoch is over")
		return false, stop
	}
	a.add(key)
	return *asked, goOn
}

// await waits for the next attempt's time. It reports whether a person asks to skip the event.
func (a *attempts) await(it *item, delay time.Duration) (skip bool) {
	woken, stop := a.t.rt.Subscribe(topicSubscriber(a.t.name))
	defer stop()
	due, key := time.Now().Add(delay), it.attemptKey()
	for !a.t.ending() {
		left := time.Until(due)
		if left <= 0 {
			return false
		}
		timer := time.NewTimer(min(left, a.t.poll))
		select {
		case <-timer.C:
		case <-woken:
		case <-a.t.base.Done():
		case <-a.t.life.Soft.Done():
		}
		timer.Stop()
		if time.Until(due) > 0 && !a.t.ending() &&
			a.t.statement(a.t.base, unflushed, sqlSkipped, []any{a.t.name, key.position, key.entityID},
				&skip) == nil && skip {
			return true
		}
	}
	return false
}
