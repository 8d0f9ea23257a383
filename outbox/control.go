package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// controlTimeout bounds one use of the control connection: a heartbeat must not hang behind a dead network.
const controlTimeout = 10 * time.Second

// control is the one connection that handlers cannot exhaust: heartbeats, rescue and promotion go over it. It connects
// when it is first used and after every failure.
type control struct {
	box  *Box
	slot chan struct{} // holds the right to use conn
	conn *pgx.Conn
	had  bool // there was a connection before, and nobody here has ended it
}

func newControl(b *Box) *control { return &control{box: b, slot: make(chan struct{}, 1)} }

// use runs fn on the connection, alone. After an error that is not the server's answer the connection is thrown away. A
// caller that stops in the middle of a statement closes it, too: then it is no loss.
func (c *control) use(caller context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(caller, controlTimeout)
	defer cancel()
	select {
	case c.slot <- struct{}{}:
		defer func() { <-c.slot }()
	case <-ctx.Done():
		return fmt.Errorf("strunk/outbox: waiting for the control connection: %w", ctx.Err())
	}
	if c.conn == nil || c.conn.IsClosed() {
		conn, err := c.box.connect(ctx)
		if err != nil {
			return fmt.Errorf("strunk/outbox: control connection: %w", err)
		}
		if c.conn = conn; c.had {
			c.box.broke("a control connection was lost")
		}
		c.had = true
	}
	err := fn(ctx, c.conn)
	if c.conn.IsClosed() && errors.Is(caller.Err(), context.Canceled) {
		c.had = false
	}
	return err
}

func (c *control) close() {
	c.slot <- struct{}{}
	if c.conn != nil {
		closeConn(c.conn)
		c.conn = nil
	}
	<-c.slot
}

// autocommit runs statements as one transaction that waits for its commit's answer and ignores the
// server's defaults for isolation and access; it is retried on a conflict. The transaction travels
// in one message: a process that is frozen in the middle of it, a heartbeat above all, must not
// keep its row locked against the rescue.
func (c *control) autocommit(ctx context.Context, statements ...core.Statement) error {
	return c.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error { return core.OneMessage(ctx, conn, statements...) })
	})
}

// queryInt64s runs a statement in a transaction of its own and returns its one column.
func (c *control) queryInt64s(ctx context.Context, sql string, args ...any) (ids []int64, err error) {
	err = c.autocommit(ctx, core.Statement{SQL: sql, Args: args, Scan: func(rows pgx.Rows) (err error) {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	}})
	return ids, err
}
