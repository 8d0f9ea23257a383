package suite

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/faults"
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
	release, err := faults.FillNotifyQueue(ctx, r.dsn)
	if err != nil {
		return err
	}
	defer release()
	r.sleep(800)
	return nil
}
