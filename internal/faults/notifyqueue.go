package faults

import (
	"context"
	"errors"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// FillNotifyQueue fills the server's queue of notifications, which must be short: max_notify_queue_pages, PostgreSQL 17
// and later. A session listens in a transaction that stays open, so that nothing is taken out, until release is called.
func FillNotifyQueue(ctx context.Context, dsn string) (release func(), err error) {
	listener, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	release = func() { _ = listener.Close(context.WithoutCancel(ctx)) }
	if err := fillNotifyQueue(ctx, dsn, listener); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func fillNotifyQueue(ctx context.Context, dsn string, listener *pgx.Conn) error {
	for _, statement := range []string{`LISTEN faults`, `BEGIN`} {
		if _, err := listener.Exec(ctx, statement); err != nil {
			return err
		}
	}
	filler, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer filler.Close(ctx)
	for range 10_000 {
		_, err := filler.Exec(ctx, `SELECT pg_notify('faults', repeat('x', 7000))`)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == pgerrcode.ProgramLimitExceeded {
			return nil
		}
	}
	return errors.New("the queue of notifications does not fill up")
}
