package suite

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// notifyPages is how long the queue of NOTIFY is in pages of 8 KiB, the least that a server takes.
const notifyPages = 64

// shortenNotifyQueue makes the queue of NOTIFY one that can be filled in a moment, from PostgreSQL 17 on: before, it
// holds 8 GiB.
func (l *lab) shortenNotifyQueue(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, l.server.DSN())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return err
	}
	if version < 170000 {
		return nil
	}
	if _, err := conn.Exec(ctx, fmt.Sprint(`ALTER SYSTEM SET max_notify_queue_pages = `, notifyPages)); err != nil {
		return err
	}
	l.shortQueue = true
	if err := l.server.StopServer(ctx); err != nil {
		return err
	}
	return l.server.StartServer(ctx)
}

// Somebody listens in a transaction that stays open: the queue of NOTIFY cannot be emptied, and fills up.
func fillNotifyQueue(ctx context.Context, r *round) error {
	if !r.lab.shortQueue {
		return unable("before PostgreSQL 17 the queue of NOTIFY holds 8 GiB")
	}
	sleeper, err := pgx.Connect(ctx, r.dsn)
	if err != nil {
		return err
	}
	defer sleeper.Close(ctx)
	if _, err := sleeper.Exec(ctx, `LISTEN suite`); err != nil {
		return err
	}
	if _, err := sleeper.Exec(ctx, `BEGIN`); err != nil {
		return err
	}
	filler, err := pgx.Connect(ctx, r.dsn)
	if err != nil {
		return err
	}
	defer filler.Close(ctx)
	for range 100 * notifyPages {
		_, err := filler.Exec(ctx, `SELECT pg_notify('suite', repeat('x', 7000))`)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == pgerrcode.ProgramLimitExceeded {
			r.sleep(800)
			return nil
		}
	}
	return errors.New("the queue of NOTIFY does not fill up")
}
