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

// DeadLetter is a task whose attempts are spent or whose payload cannot be decoded: the error says which.
type DeadLetter = Record[json.RawMessage]

// DefaultDeadLimit is how many dead letters DeadLetters lists where the filter has no Limit.
// RetryDead and PurgeDead have no limit of their own.
const DefaultDeadLimit = 100

// deadChunk and deadBytes bound the dead letters that one transaction retries or purges. A retry moves the payload.
const (
	deadChunk = 500
	deadBytes = 8 << 20
)

const (
	// sqlDeadOf chooses ended tasks: of queue $1, ids $2, with $3 in their last error, ages $4 and $5
	// in milliseconds (null: any), and status $6.
	sqlDeadOf = `
FROM {schema}.strunk_outbox
WHERE status = $6::text AND kind = 'task' AND ($1::text = '' OR key = $1::text)
	AND ($2::bigint[] IS NULL OR id = ANY ($2::bigint[]))
	AND ($3::text = '' OR pg_catalog.strpos(last_error, $3::text) > 0)
	AND ($4::bigint IS NULL OR finished_at <= pg_catalog.now() - $4::bigint * interval '1 millisecond')
	AND ($5::bigint IS NULL OR finished_at >= pg_catalog.now() - $5::bigint * interval '1 millisecond')
`
	// sqlDead lists them: sqlDeadUp in the order of their ids, after id $7, sqlDeadDown backwards; at
	// most $8.
	sqlDead = `SELECT id, status, attempts, max_attempts, priority, created_at, due_at, claimed_at, finished_at,
	coalesce(dedup_key, ''), coalesce(customer_key, ''), coalesce(last_error, ''), payload, metadata, errors, key`
	sqlDeadUp   = sqlDead + sqlDeadOf + `AND id > $7::bigint ORDER BY id LIMIT $8::integer`
	sqlDeadDown = sqlDead + sqlDeadOf + `AND ($7::bigint = 0 OR id < $7::bigint) ORDER BY id DESC LIMIT $8::integer`
	// sqlDeadCount and sqlDeadIDs count them and list their ids alone.
	sqlDeadCount = `SELECT pg_catalog.count(*)` + sqlDeadOf
	sqlDeadIDs   = `SELECT id` + sqlDeadOf + `ORDER BY id`
	// sqlDeadNext lists the next ids, after $7 and at most $8, with the bytes of their payloads.
	sqlDeadNext = `SELECT id, coalesce(pg_catalog.pg_column_size(payload), 0)::bigint` + sqlDeadOf +
		`AND id > $7::bigint ORDER BY id LIMIT $8::integer`
	// sqlRetryDead gives dead letters $1 new attempts.
	sqlRetryDead = `SELECT id, queue FROM {schema}.strunk_retry_ended($1::bigint[])`
	// sqlPurgeDead deletes dead letters $1.
	sqlPurgeDead = `SELECT {schema}.strunk_purge_ended($1::bigint[])`
)

// DeadLetters lists dead letters, or what the filter's Status names, in the order of their ids, at
// most DefaultDeadLimit where the filter has no Limit. What the box's middleware did to a payload
// is undone; what the middleware of a queue did is not.
func DeadLetters(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) ([]DeadLetter, error) {
	if err := checkDead(filter, box, "dead letters"); err != nil {
		return nil, err
	}
	if filter.Limit == 0 {
		filter.Limit = DefaultDeadLimit
	}
	host := core.BoxHost(box)
	letters, err := listDead(ctx, host, filter)
	for i := range letters {
		if err == nil {
			err = openRecord(ctx, &letters[i], middlewares(host))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: dead letters: %w", err)
	}
	return letters, nil
}

// RetryDead gives the chosen dead letters all their attempts again: they are pending at once, at
// the end of their queue. A dedup key that another task holds meanwhile is given up. It returns how
// many; what was retried before an error stays retried.
func RetryDead(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) (int, error) {
	return eachDead(ctx, filter, box, "retry dead letters", func(host core.Host, ids []int64) (int, error) {
		n, id, queue, topics := 0, int64(0), "", map[string]bool{}
		err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlRetryDead), Args: []any{ids},
			Scan: func(rows pgx.Rows) error {
				n = 0
				_, err := pgx.ForEachRow(rows, []any{&id, &queue}, func() error {
					n++
					topics[core.TopicQueue(queue)] = true
					return nil
				})
				return err
			}})
		for topic := range topics {
			host.WakeLocal(topic)
		}
		return n, err
	})
}

// PurgeDead deletes the chosen dead letters for good, and returns how many; what was deleted before
// an error stays deleted.
func PurgeDead(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) (int, error) {
	return eachDead(ctx, filter, box, "purge dead letters", func(host core.Host, ids []int64) (int, error) {
		return core.WriteValue[int](ctx, host.Pool(), host.SQL(sqlPurgeDead), ids)
	})
}

func checkDead(f outbox.DeadFilter, box *outbox.Box, what string) (err error) {
	_, statusErr := f.EndedStatus()
	switch {
	case box == nil:
		err = errors.New("the box is nil")
	case f.OlderThan < 0 || f.YoungerThan < 0:
		err = fmt.Errorf("DeadFilter: OlderThan (%v) and YoungerThan (%v) must not be negative", f.OlderThan,
			f.YoungerThan)
	case statusErr != nil:
		err = statusErr
	case f.Subscriber != "":
		err = errors.New("DeadFilter: Subscriber: package queue knows tasks only; see package events")
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

// eachDead hands the ids of what the filter chooses to fn, chunk by chunk.
func eachDead(
	ctx context.Context, f outbox.DeadFilter, box *outbox.Box, what string, fn func(core.Host, []int64) (int, error),
) (total int, err error) {
	if err := checkDead(f, box, what); err != nil {
		return 0, err
	}
	if f.Newest {
		return 0, fmt.Errorf("strunk/queue: %s: DeadFilter: Newest is for lists: %w", what, ErrInvalid)
	}
	host, size, most := core.BoxHost(box), core.NewBatchLimit(deadChunk, deadBytes), f.Limit
	for more := true; more && (most == 0 || total < most); {
		rows, bytes := size.Now()
		if f.Limit = rows; most > 0 {
			f.Limit = min(rows, most-total)
		}
		var ids []int64
		if ids, more, err = nextDead(ctx, host, f, bytes); err != nil {
			return total, fmt.Errorf("strunk/queue: %s: %w", what, err)
		}
		if len(ids) == 0 {
			break
		}
		n, err := fn(host, ids)
		if ctx.Err() == nil && size.Failed(err) {
			more = true
			continue
		}
		total += n
		if err != nil {
			return total, fmt.Errorf("strunk/queue: %s: %w", what, err)
		}
		size.Succeeded()
		f.After = ids[len(ids)-1]
	}
	return total, nil
}

// nextDead returns the ids after f.After: up to f.Limit, and no more than so many bytes of payloads and one more.
func nextDead(ctx context.Context, host core.Host, f outbox.DeadFilter, bytes int64) (ids []int64, more bool,
	err error) {
	rows, err := host.Pool().Query(ctx, host.SQL(sqlDeadNext), append(deadArgs(f), f.After, f.Limit)...)
	if err != nil {
		return nil, false, err
	}
	var id, size int64
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
		if n++; bytes > 0 {
			ids = append(ids, id)
		}
		bytes -= size
		return nil
	})
	return ids, n == f.Limit || len(ids) < n, err
}

func listDead(ctx context.Context, host core.Host, f outbox.DeadFilter) ([]DeadLetter, error) {
	sql := sqlDeadUp
	if f.Newest {
		sql = sqlDeadDown
	}
	rows, err := host.Pool().Query(ctx, host.SQL(sql), append(deadArgs(f), f.After, f.Limit)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (letter DeadLetter, err error) {
		return letter, scanRecord(row, &letter, &letter.Queue)
	})
}

// deadArgs are the parameters of sqlDeadOf.
func deadArgs(f outbox.DeadFilter) []any {
	status, _ := f.EndedStatus() // checkDead has looked
	return []any{f.Queue, f.IDs, f.Error, age(f.OlderThan), age(f.YoungerThan), status}
}

// CountDead counts what the filter chooses, whatever its After and Limit: the preview of RetryDead and
// PurgeDead. It reads every row that it counts.
func CountDead(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) (n int, err error) {
	if err := checkDead(filter, box, "count dead letters"); err != nil {
		return 0, err
	}
	host := core.BoxHost(box)
	if err := host.Pool().QueryRow(ctx, host.SQL(sqlDeadCount), deadArgs(filter)...).Scan(&n); err != nil {
		return 0, fmt.Errorf("strunk/queue: count dead letters: %w", err)
	}
	return n, nil
}

// DeadIDs lists the ids of what the filter chooses, in their order, whatever its After and Limit: eight
// bytes each.
func DeadIDs(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) ([]int64, error) {
	if err := checkDead(filter, box, "dead letters' ids"); err != nil {
		return nil, err
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sqlDeadIDs), deadArgs(filter)...)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: dead letters' ids: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: dead letters' ids: %w", err)
	}
	return ids, nil
}

func age(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	return millis[int64](&d)
}

// callByID calls a hook for those of the tasks that have ended with a status.
func callByID(ctx context.Context, host core.Host, hook func(context.Context, DeadLetter), status string, ids []int64) {
	letters, err := listDead(ctx, host, outbox.DeadFilter{IDs: ids, Status: status, Limit: len(ids)})
	if err != nil {
		host.Logger().Warn("strunk: ended tasks could not be read for their hook", "error", err)
		return
	}
	for _, letter := range letters {
		if err := openRecord(ctx, &letter, middlewares(host)); err != nil {
			letter.PayloadErr = err
		}
		callDead(ctx, host.Logger(), hook, letter)
	}
}
