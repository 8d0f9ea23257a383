package pgserver

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// admin keeps connections on which databases are created and dropped: a new one costs the server as much as an empty
// database does. Its zero value is ready, and may be used by several goroutines.
type admin struct {
	mu     sync.Mutex
	idle   []*pgx.Conn
	closed bool
}

// maxIdle bounds the connections that are kept.
const maxIdle = 2

// busyRetries is how often CREATE DATABASE is tried again when somebody is connected to its template: the server waits
// 5 s by itself, which a session that is ending may exceed on a busy machine.
const busyRetries = 3

// execute runs the statement that sql returns for a connection. A kept connection that turns out to be dead, as after a
// restart of the server, is replaced once.
func (a *admin) execute(ctx context.Context, dsn string, sql func(*pgx.Conn) string) error {
	if conn := a.take(); conn != nil {
		err := executeOn(ctx, conn, sql(conn))
		dead := conn.IsClosed()
		a.keep(conn)
		if !dead {
			return err
		}
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer a.keep(conn)
	return executeOn(ctx, conn, sql(conn))
}

func (a *admin) take() (conn *pgx.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.idle) - 1; last >= 0 {
		conn, a.idle = a.idle[last], a.idle[:last]
	}
	return conn
}

func (a *admin) keep(conn *pgx.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || conn.IsClosed() || len(a.idle) == maxIdle {
		_ = conn.Close(context.Background())
		return
	}
	a.idle = append(a.idle, conn)
}

// close closes what is idle. A connection in use is closed when it is given back.
func (a *admin) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, conn := range a.idle {
		_ = conn.Close(context.Background())
	}
	a.idle, a.closed = nil, true
}

func executeOn(ctx context.Context, conn *pgx.Conn, sql string) error {
	for try := 0; ; try++ {
		_, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		var refused *pgconn.PgError
		if try == busyRetries || !errors.As(err, &refused) || refused.Code != pgerrcode.ObjectInUse {
			return err
		}
	}
}
