package ops

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// question is one statement of a read, and what takes its rows.
type question struct {
	sql  string
	args []any
	scan func(pgx.Rows) error
}

// one is a question that has one row.
func one(sql string, args []any, into ...any) question {
	return question{sql: sql, args: args, scan: func(rows pgx.Rows) error {
		if !rows.Next() {
			return errors.Join(rows.Err(), pgx.ErrNoRows)
		}
		return rows.Scan(into...)
	}}
}

// notFoundWithout says that what is not there was not found, where an error says that there was no row.
func notFoundWithout(err error, what string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf(what+": %w", append(args, ErrNotFound)...)
	}
	return err
}

// then has the question do something with the row once it is read.
func (q question) then(do func()) question {
	read := q.scan
	q.scan = func(rows pgx.Rows) error {
		err := read(rows)
		if err == nil {
			do()
		}
		return err
	}
	return q
}

// many is a question whose rows are collected.
func many[T any](into *[]T, sql string, args []any, scan func(pgx.Rows) (T, error)) question {
	return question{sql: sql, args: args, scan: func(rows pgx.Rows) error {
		*into = []T{}
		for rows.Next() {
			item, err := scan(rows)
			if err != nil {
				return err
			}
			*into = append(*into, item)
		}
		return nil
	}}
}

// paged asks for a page of a list that is ordered by names; question asks for at most limit after a name.
func paged[T any](ctx context.Context, box *outbox.Box, what string, page Page,
	question func(into *[]T, after string, limit int) question) (all []T, err error) {
	n, err := limit(page.Limit)
	if err == nil {
		err = texts(page.After)
	}
	if err == nil {
		err = ask(ctx, box, question(&all, page.After, n))
	}
	return all, wrap(what, err)
}

// sqlLimitTime makes PostgreSQL cancel what takes longer than $1 (milliseconds), and keeps it off whole tables, in this
// transaction. Where only a whole table has what is asked for, its cost is so high then that PostgreSQL would compile
// the statement, which takes longer than to run it: jit is off.
const sqlLimitTime = `SELECT pg_catalog.set_config('statement_timeout', $1, true),
	pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('jit', 'off', true)`

// ask asks in one message, in one read-only transaction of one snapshot: its answers are of the same moment. PostgreSQL
// cancels what takes longer than QueryTimeout. A context that ends costs a connection; the time limit does not.
func ask(ctx context.Context, box *outbox.Box, questions ...question) error {
	if box == nil {
		return fmt.Errorf("the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	conn, err := host.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	batch.Queue(sqlLimitTime, fmt.Sprint((core.Patience * QueryTimeout).Milliseconds()))
	for _, q := range questions {
		batch.Queue(host.SQL(q.sql), q.args...)
	}
	batch.Queue("COMMIT")
	err = answers(conn.SendBatch(ctx, batch), questions)
	if err != nil && !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return err
}

func answers(results pgx.BatchResults, questions []question) (err error) {
	defer func() {
		if closeErr := results.Close(); err == nil {
			err = closeErr
		}
	}()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	for _, q := range questions {
		if err := answer(results, q); err != nil {
			return err
		}
	}
	_, err = results.Exec()
	return err
}

func answer(results pgx.BatchResults, q question) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := q.scan(rows); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}
