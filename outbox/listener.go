package outbox

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// Pauses between attempts to connect again, doubling.
const (
	minReconnectPause = 100 * time.Millisecond
	maxReconnectPause = 5 * time.Second
)

// connect opens a connection beside the pool, with the pool's configuration and its hooks: they may
// bring a fresh password, or set a role.
func (b *Box) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg := b.pool.Config()
	if cfg.BeforeConnect != nil {
		if err := cfg.BeforeConnect(ctx, cfg.ConnConfig); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil || cfg.AfterConnect == nil {
		return conn, err
	}
	if err := cfg.AfterConnect(ctx, conn); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// listen hands notifications to the wake-ups until ctx ends. Each new connection is followed by a
// full poll, for what was announced while there was none.
func (b *Box) listen(ctx context.Context) {
	pause := minReconnectPause
	for again := false; ctx.Err() == nil; again = true {
		began := time.Now()
		err := b.listenOnce(ctx, again)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxReconnectPause {
			pause = minReconnectPause
		}
		b.cfg.Logger.Warn("strunk: the listening connection was lost; polling until it is back", "error", err,
			"retry_in", pause)
		core.Sleep(ctx, pause)
		pause = min(2*pause, maxReconnectPause)
	}
}

// listenOnce listens on one connection; again says that there was one before.
func (b *Box) listenOnce(ctx context.Context, again bool) error {
	conn, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{b.names.channel}.Sanitize()); err != nil {
		return err
	}
	if b.wakeUps.wakeAll(); again {
		b.broke("the listening connection was lost")
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		b.wakeUps.wake([]string{n.Payload})
	}
}

// closeTimeout bounds the farewell to a server that may not answer.
const closeTimeout = 300 * time.Millisecond

// closeConn closes politely, but not for long.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}
