package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// group returns how many of the items may be handed to the handler at once: the first alone, unless the handler takes
// batches and none of them needs care.
func (s *session) group(items []*item) int {
	most := 1
	if s.work.batch {
		most = s.opts.batch
	}
	n := 0
	for n < len(items) && n < most && s.plain(items[n]) {
		n++
	}
	return max(n, 1)
}

// plain reports whether nothing is known against an item.
func (s *session) plain(it *item) bool {
	return !it.redeliver && it.order > s.suspect && !s.retries.has(it.retryKey()) && !s.held.has(it.entityID)
}

// handle sees items through: handled, or copied, or the session ends. resumed is the outcome of an attempt that is over.
func (s *session) handle(l *lane, items []*item, resumed error) verdict {
	if items[0].redeliver {
		return s.redeliver(l, items[0], resumed)
	}
	l.first.Store(items[0].order)
	v := goOn
	if len(items) == 1 {
		v = s.handleOne(l, items[0], resumed)
	} else {
		v = s.handleBatch(l, items, resumed)
	}
	if v == goOn {
		done := l.current // of a batch that failed, the first item alone
		s.handled.Add(int64(len(done)))
		l.first.Store(done[len(done)-1].order + 1)
	}
	return v
}

// handleBatch hands a batch over. When it fails, its items are handed over one by one, so that it is known which does.
func (s *session) handleBatch(l *lane, items []*item, resumed error) verdict {
	err := resumed
	if err == nil {
		var gone bool
		if gone, err = s.call(l, items, s.passing(items)); gone {
			return abandoned
		}
	}
	if err == nil {
		return goOn
	}
	if s.base.Err() != nil {
		return stop
	}
	s.rt.Logger().Info("strunk: a batch failed; its events are handled one by one", "subscriber", s.name, "events", len(items), "error", core.ErrorText(err))
	rest := l.rest
	l.rest = append(append(make([]*item, 0, len(items)+len(rest)), items[1:]...), rest...)
	for _, it := range items { // not as a batch again
		s.retries.add(it.retryKey())
	}
	l.current = items[:1]
	return s.handleOne(l, items[0], nil)
}

// passing is what commits with a transaction's handlers: the cursor behind the items.
func (s *session) passing(items []*item) func(ctx context.Context, tx *outbox.OwnedTx) error {
	last := items[len(items)-1].order
	return func(ctx context.Context, tx *outbox.OwnedTx) error { return s.source.saveIn(ctx, tx, last) }
}

// handleOne sees one item through.
func (s *session) handleOne(l *lane, it *item, resumed error) verdict {
	if resumed == nil && s.held.has(it.entityID) {
		switch free, v := s.copyBehind(it); {
		case v != goOn || !free:
			return v
		}
		s.held.remove(it.entityID)
	}
	for suspect := it.order <= s.suspect; ; suspect = false {
		v, err := s.attempt(l, it, suspect, resumed)
		resumed = nil
		switch {
		case v != goOn || err == nil:
			return v
		case errors.Is(err, errSkipped):
			return s.bury(it, err)
		case s.base.Err() != nil:
			return stop
		case s.opts.policy != Block:
			return s.failed(it, err)
		}
		if v, skipped := s.block(it, err); v != goOn || skipped {
			return v
		}
	}
}

// attempt makes one attempt, counted before where the item has attempts behind it. Suspects are alone in the process from
// the count to the end: if one of them ends the process, its attempt is the only one that was counted.
func (s *session) attempt(l *lane, it *item, suspect bool, resumed error) (verdict, error) {
	if resumed != nil {
		return goOn, resumed
	}
	if suspect {
		s.careful.Lock()
		defer s.careful.Unlock()
		if s.ending() {
			return stop, nil
		}
	}
	if suspect || s.retries.has(it.retryKey()) {
		skip, spent, v := s.count(it, suspect)
		switch {
		case v != goOn:
			return v, nil
		case skip:
			return goOn, errSkipped
		case spent:
			return goOn, errLost
		}
	}
	gone, err := s.call(l, []*item{it}, s.passing([]*item{it}))
	if gone {
		return abandoned, nil
	}
	if suspect && err == nil {
		return s.acquit(it), nil
	}
	return goOn, err
}

// acquit drops the attempts of a suspect that was handled.
func (s *session) acquit(it *item) verdict {
	key := it.retryKey()
	err := s.persist("dropping an event's attempts", func(ctx context.Context) error {
		return s.fence(ctx, sqlHandled, s.name, s.place.epoch, key.position, key.entityID)
	})
	if err != nil {
		return stop
	}
	return goOn
}

// errLost is the failure of an event whose attempts were all cut off with their process.
var errLost = errors.New("the process that handled it was lost")

// count keeps an attempt before it is made.
func (s *session) count(it *item, suspect bool) (skip, spent bool, v verdict) {
	least := it.attempt - 1
	if suspect {
		least = max(least, 1) // the owner that was lost has begun it
	}
	key := it.retryKey()
	attempts := -1
	err := s.persist("counting an attempt", func(ctx context.Context) error {
		return s.statement(ctx, false, sqlTry, []any{s.name, s.place.epoch, key.position, key.entityID, least}, &attempts, &skip)
	})
	if err != nil {
		return false, false, stop
	}
	if attempts < 0 {
		s.end(errReload)
		return false, false, stop
	}
	s.retries.add(key)
	it.attempt = attempts
	return skip, s.opts.policy != Block && attempts > s.opts.attempts, goOn
}

// persist repeats a write that must not be left out, until it succeeds or the session ends.
func (s *session) persist(what string, fn func(ctx context.Context) error) error {
	pause := firstPause
	for {
		err := fn(s.base)
		if err == nil {
			return nil
		}
		if s.ending() {
			return err
		}
		s.logError(s.rt, what+" failed", err)
		s.sleep(pause)
		pause = min(2*pause, s.poll)
	}
}

// call runs the handler, in a transaction where it needs one. finish is called in that transaction, last. gone says that
// another goroutine has the lane by now.
func (s *session) call(l *lane, items []*item, finish func(context.Context, *outbox.OwnedTx) error) (gone bool, err error) {
	began := time.Now()
	due := began.Add(s.opts.timeout).UnixNano()
	ctx, cancel := context.WithTimeoutCause(s.base, s.opts.timeout, ErrTimeout)
	defer cancel()
	l.due.Store(due)
	if s.work.inTx {
		err = s.inTx(ctx, items, finish)
	} else {
		err = s.protect(ctx, nil, items)
	}
	s.busy.Add(int64(time.Since(began)))
	if !l.due.CompareAndSwap(due, 0) {
		return true, nil
	}
	if err != nil && errors.Is(context.Cause(ctx), ErrTimeout) {
		err = fmt.Errorf("%w after %v: %w", ErrTimeout, s.opts.timeout, err)
	}
	return false, err
}

// sqlIdle bounds how long the server lets a handler's transaction stand still ($1, in milliseconds): a process that is
// frozen in it must not hold its locks past the lease.
const sqlIdle = `SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true)`

func (s *session) inTx(ctx context.Context, items []*item, finish func(context.Context, *outbox.OwnedTx) error) error {
	tx, err := s.rt.Box().(*outbox.Box).Begin(ctx, outbox.WithTxOptions(core.PlainTx))
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // without effect after a commit
	limit := s.opts.lease * 2 / 3
	if _, err := tx.Pgx().Exec(ctx, sqlIdle, fmt.Sprint(limit.Milliseconds())); err != nil {
		return err
	}
	if err := s.protect(ctx, tx, items); err != nil {
		return err
	}
	if err := finish(ctx, tx); err != nil {
		return err
	}
	err = tx.Commit(ctx)
	if core.AnswerLost(err) {
		s.end(errReload) // it may have been committed: the cursor says
	}
	return err
}

// protect turns a panic into an error.
func (s *session) protect(ctx context.Context, tx *outbox.OwnedTx, items []*item) (err error) {
	finished := false
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: string(debug.Stack())}
		} else if !finished {
			err = errors.New("the handler ended its goroutine (runtime.Goexit)")
		}
	}()
	err = s.work.call(ctx, tx, items)
	finished = true
	return err
}

const (
	// sqlTry counts an attempt of subscriber $1 in epoch $2 at position $3, entity $4, which has had at least $5.
	sqlTry = `SELECT attempts, skip FROM {schema}.strunk_try_event($1::text, $2::bigint, $3::bigint, $4::text, $5::integer)`
	// sqlFailed keeps why attempt $5 failed.
	sqlFailed = `SELECT {schema}.strunk_event_failed($1::text, $2::bigint, $3::bigint, $4::text, $5::integer, $6::text, $7::text, $8::text)`
	// sqlHandled drops the attempts of the event at position $3, entity $4.
	sqlHandled = `SELECT {schema}.strunk_event_handled($1::text, $2::bigint, $3::bigint, $4::text)`
	// sqlSkipped tells whether a person has asked to skip the event.
	sqlSkipped = `SELECT skip FROM {schema}.strunk_retries WHERE subscriber = $1 AND position = $2 AND entity_id = $3`
	// sqlRetries lists the events of subscriber $1 that have attempts behind them.
	sqlRetries = `SELECT position, entity_id FROM {schema}.strunk_retries WHERE subscriber = $1`
)

func (s *session) loadRetries() error {
	s.retries.init()
	var key retryKey
	return s.query(s.base, false, sqlRetries, []any{s.name}, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&key.position, &key.entityID}, func() error { s.retries.add(key); return nil })
		return err
	})
}

// block keeps why an attempt failed and waits until the next is due, or the event is to be skipped.
func (s *session) block(it *item, failure error) (v verdict, skipped bool) {
	key := it.retryKey()
	var skip *bool
	text, stack := errorTexts(failure)
	err := s.persist("keeping an attempt", func(ctx context.Context) error {
		return s.statement(ctx, false, sqlFailed, []any{s.name, s.place.epoch, key.position, key.entityID, it.attempt, text, stack, s.by}, &skip)
	})
	if err != nil {
		return stop, false
	}
	if skip == nil {
		s.end(errReload)
		return stop, false
	}
	s.retries.add(key)
	delay := s.retryDelay(it.attempt, failure)
	s.rt.Logger().Warn("strunk: an event failed and blocks its subscriber until it succeeds", "subscriber", s.name, "position", it.position,
		"entity", it.entityID, "attempt", it.attempt, "retry_in", delay, why(failure))
	if *skip || s.awaitRetry(it, delay) {
		return s.bury(it, failure), true
	}
	if s.ending() {
		return stop, false
	}
	it.attempt++ // count makes sure of it
	return goOn, false
}

// awaitRetry waits for the next attempt's time; true is a person's wish to skip the event.
func (s *session) awaitRetry(it *item, delay time.Duration) (skip bool) {
	woken, stop := s.rt.Subscribe(topicSubscriber(s.name))
	defer stop()
	due := time.Now().Add(delay)
	for !s.ending() {
		left := time.Until(due)
		if left <= 0 {
			return false
		}
		timer := time.NewTimer(min(left, s.poll))
		select {
		case <-timer.C:
		case <-woken:
		case <-s.base.Done():
		case <-s.life.Soft.Done():
		}
		timer.Stop()
		key := it.retryKey()
		if time.Until(due) > 0 && !s.ending() &&
			s.statement(s.base, false, sqlSkipped, []any{s.name, key.position, key.entityID}, &skip) == nil && skip {
			return true
		}
	}
	return false
}

// retryDelay asks the policy, which is the user's code.
func (s *session) retryDelay(attempt int, err error) (d time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			s.rt.Logger().Error("strunk: a retry policy panicked; using the default", "subscriber", s.name, "panic", r)
			d = DefaultBackoff.Delay(attempt, err)
		}
	}()
	return min(max(s.opts.retry.Delay(attempt, err), 0), longestDuration)
}

func errorTexts(err error) (text, stack *string) { return core.ErrorTexts(err, stackOf) }

func stackOf(err error) (string, bool) {
	var p *PanicError
	if !errors.As(err, &p) {
		return "", false
	}
	return p.Stack, true
}

// why is an error in a log, with the stack of a panic.
func why(err error) slog.Attr { return core.Why(errorTexts(err)) }
