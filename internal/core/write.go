package core

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Write runs statements that write, in a transaction of their own as OneMessage does, whatever the server's defaults
// for isolation and access. It is retried on a conflict.
func Write(ctx context.Context, pool *pgxpool.Pool, statements ...Statement) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return RetryConflicts(ctx, func() error { return OneMessage(ctx, conn.Conn(), statements...) })
}

// WriteValue is Write for a statement that returns one value.
func WriteValue[T any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (v T, err error) {
	err = Write(ctx, pool, Statement{SQL: sql, Args: args, Scan: func(rows pgx.Rows) (err error) {
		v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}})
	return v, err
}
