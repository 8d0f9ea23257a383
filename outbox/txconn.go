package outbox

import (
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// txConn is the pool's connection of an owned transaction. It goes back to the pool at the
// transaction's end, or is dropped while whoever was given the transaction may still use it.
type txConn struct {
	mu   sync.Mutex
	conn *pgxpool.Conn // nil once it is released or dropped
}

func (c *txConn) take() *pgxpool.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conn
	c.conn = nil
	return conn
}

// release gives the connection back; the pool closes one that is broken or in a transaction.
func (c *txConn) release() {
	if conn := c.take(); conn != nil {
		conn.Release()
	}
}

// drop takes the connection from the pool and closes its socket, which is safe beside any use of
// the connection: a use fails then, and the server rolls back.
func (c *txConn) drop() {
	if conn := c.take(); conn != nil {
		_ = conn.Hijack().PgConn().Conn().Close()
	}
}
