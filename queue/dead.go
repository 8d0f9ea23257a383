package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// DeadLetter is a task whose attempts are spent, whose payload cannot be decoded, or that was discarded or cancelled: the
// error says which.
type DeadLetter = Record[json.RawMessage]

// DeadFilter chooses dead letters; the zero value chooses all, of every queue.
type DeadFilter struct {
	// Queue is the queue's name; empty means any.
	Queue string
	// IDs are the tasks' ids; nil means any.
	IDs []int64
	// Error is a text that the last error must contain; empty means any.
	Error string
	// OlderThan and YoungerThan bound how long ago the task died; zero means any.
	OlderThan, YoungerThan time.Duration
	// After leaves out ids up to this one: to page on.
	After int64
	// Limit bounds how many are listed (zero means DefaultDeadLimit), retried or purged (zero means all).
	Limit int
}

// DefaultDeadLimit is how many dead letters DeadLetters lists where the filter has no Limit.
const DefaultDeadLimit = 100

// deadChunk bounds the dead letters that one transaction retries or purges.
const deadChunk = 500

const (
	// sqlDead lists dead letters after id $6, in id order, at most $7. Ages are in milliseconds, null for none.
	sqlDead = `SELECT id, status, attempts, max_attempts, priority, created_at, due_at, claimed_at, finished_at,
	coalesce(dedup_key, ''), coalesce(limit_key, ''), coalesce(last_error, ''), payload, metadata, errors, key
FROM {schema}.strunk_outbox
WHERE status = 'dead' AND kind = 'task' AND ($1::text = '' OR key = $1::text) AND ($2::bigint[] IS NULL OR id = ANY ($2::bigint[]))
	AND ($3::text = '' OR pg_catalog.strpos(last_error, $3::text) > 0)
	AND ($4::bigint IS NULL OR finished_at <= pg_catalog.now() - $4::bigint * interval '1 millisecond')
	AND ($5::bigint IS NULL OR finished_at >= pg_catalog.now() - $5::bigint * interval '1 millisecond')
	AND id > $6::bigint
ORDER BY id LIMIT $7::integer`
	// sqlRetryDead gives dead letters $1 new attempts.
	sqlRetryDead = `SELECT id, queue FROM {schema}.strunk_retry_dead($1::bigint[])`
	// sqlPurgeDead deletes dead letters $1.
	sqlPurgeDead = `SELECT {schema}.strunk_purge_dead($1::bigint[])`
)

// DeadLetters lists dead letters in the order of their ids. Payloads are as they were enqueued: the box's middleware and that of
// queues given besides has been undone.
func DeadLetters(ctx context.Context, box *outbox.Box, filter DeadFilter) ([]DeadLetter, error) {
	if err := filter.check(box, "dead letters"); err != nil {
		return nil, err
	}
	if filter.Limit == 0 {
		filter.Limit = DefaultDeadLimit
	}
	host := box.Host(seal)
	letters, err := filter.list(ctx, host)
	for i := range letters {
		if err == nil {
			err = openLetter(ctx, &letters[i], middlewares(host))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: dead letters: %w", err)
	}
	return letters, nil
}

// RetryDead gives the chosen dead letters all their attempts again: they are pending at once, at the end of their queue. A
// dedup key that another task holds meanwhile is given up. It returns how many; what was retried before an error stays
// retried.
func RetryDead(ctx context.Context, box *outbox.Box, filter DeadFilter) (int, error) {
	return filter.each(ctx, box, "retry dead letters", func(host core.Host, ids []int64) (int, error) {
		rows, err := host.Pool().Query(ctx, host.SQL(sqlRetryDead), ids)
		if err != nil {
			return 0, err
		}
		n, id, queue, topics := 0, int64(0), "", map[string]bool{}
		_, err = pgx.ForEachRow(rows, []any{&id, &queue}, func() error {
			n++
			topics[core.TopicQueue(queue)] = true
			return nil
		})
		for topic := range topics {
			host.WakeLocal(topic)
		}
		return n, err
	})
}

// PurgeDead deletes the chosen dead letters for good, and returns how many; what was deleted before an error stays deleted.
func PurgeDead(ctx context.Context, box *outbox.Box, filter DeadFilter) (int, error) {
	return filter.each(ctx, box, "purge dead letters", func(host core.Host, ids []int64) (n int, err error) {
		err = host.Pool().QueryRow(ctx, host.SQL(sqlPurgeDead), ids).Scan(&n)
		return n, err
	})
}

func (f DeadFilter) check(box *outbox.Box, what string) (err error) {
	switch {
	case box == nil:
		err = errors.New("the box is nil")
	case f.OlderThan < 0 || f.YoungerThan < 0:
		err = fmt.Errorf("DeadFilter: OlderThan (%v) and YoungerThan (%v) must not be negative", f.OlderThan, f.YoungerThan)
	case f.Limit < 0:
		err = fmt.Errorf("DeadFilter: Limit: %d is negative", f.Limit)
	default:
		err = errors.Join(core.CheckText(f.Queue), core.CheckText(f.Error))
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: %s: %w: %w", what, err, ErrInvalid)
	}
	return nil
}

// each hands the ids of what the filter chooses to fn, chunk by chunk.
func (f DeadFilter) each(ctx context.Context, box *outbox.Box, what string, fn func(core.Host, []int64) (int, error)) (total int, err error) {
	if err := f.check(box, what); err != nil {
		return 0, err
	}
	host, most := box.Host(seal), f.Limit
	for most == 0 || total < most {
		f.Limit = deadChunk
		if most > 0 {
			f.Limit = min(deadChunk, most-total)
		}
		letters, err := f.list(ctx, host)
		if err != nil {
			return total, fmt.Errorf("strunk/queue: %s: %w", what, err)
		}
		ids := make([]int64, len(letters))
		for i, letter := range letters {
			ids[i], f.After = letter.ID, letter.ID
		}
		n := 0
		err = core.RetryConflicts(ctx, func() (err error) { n, err = fn(host, ids); return err })
		total += n
		if err != nil {
			return total, fmt.Errorf("strunk/queue: %s: %w", what, err)
		}
		if len(ids) < f.Limit {
			break
		}
	}
	return total, nil
}

func (f DeadFilter) list(ctx context.Context, host core.Host) ([]DeadLetter, error) {
	rows, err := host.Pool().Query(ctx, host.SQL(sqlDead), f.Queue, f.IDs, f.Error, age(f.OlderThan), age(f.YoungerThan), f.After, f.Limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (letter DeadLetter, err error) {
		return letter, scanRecord(row, &letter, &letter.Queue)
	})
}

func age(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	return millis[int64](&d)
}

// openLetter undoes for a reader what middleware did to a payload.
func openLetter(ctx context.Context, letter *DeadLetter, chain []Middleware) error {
	return openRecord(ctx, letter, chain)
}

// callDeadByID calls a hook for dead letters that this process has not worked itself.
func callDeadByID(ctx context.Context, host core.Host, m Middleware, ids []int64) {
	letters, err := DeadFilter{IDs: ids, Limit: len(ids)}.list(ctx, host)
	if err != nil {
		host.Logger().Warn("strunk: dead letters could not be read for their hook", "error", err)
		return
	}
	for _, letter := range letters {
		if err := openLetter(ctx, &letter, middlewares(host)); err != nil {
			letter.PayloadErr = err
		}
		callDead(ctx, host, m, letter)
	}
}
