package core

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Write runs one statement that writes, in a transaction of its own as OneMessage does, whatever the server's defaults
// for isolation and access. It is retried on a conflict.
func Write(ctx context.Context, pool *pgxpool.Pool, s Statement) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return RetryConflicts(ctx, func() error { return OneMessage(ctx, conn.Conn(), s) })
}

// WriteValue is Write for a statement that returns one value.
func WriteValue[T any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (v T, err error) {
	err = Write(ctx, pool, Statement{SQL: sql, Args: args, Scan: func(rows pgx.Rows) (err error) {
		v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}})
	return v, err
}
