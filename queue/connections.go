package queue

import (
	"weak"

	"github.com/jackc/pgx/v5"
)

// connections are those over which a worker has claimed. A new one may lead to a server that has taken the place of
// the last and is behind it, before anybody has noticed, and there the positions that the worker remembers would hide
// tasks. So it reads them anew before it claims over a connection for the first time.
type connections struct {
	seen    map[weak.Pointer[pgx.Conn]]struct{}
	doubted bool // what is remembered must be read again
}

// newcomer adds a connection. It reports true for one that is new and not the first: then what is remembered is
// doubted.
func (c *connections) newcomer(conn *pgx.Conn) bool {
	key := weak.Make(conn)
	if _, seen := c.seen[key]; seen {
		return false
	}
	first := c.seen == nil
	if first {
		c.seen = map[weak.Pointer[pgx.Conn]]struct{}{}
	}
	for old := range c.seen { // the pool has closed some, and they are gone
		if old.Value() == nil {
			delete(c.seen, old)
		}
	}
	c.seen[key] = struct{}{}
	c.doubted = !first
	return !first
}
