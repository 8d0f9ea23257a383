package outbox

import (
	"strings"

	"github.com/strunk-go/strunk/internal/core"
)

// spareConnections is how many connections of the pool a Run needs beside those that handlers hold: for a claim, for
// what may start, and for outcomes. With fewer it gets on, and they take turns.
const spareConnections = 3

// warnOfConnections says which handlers can hold so many connections that the pool's do not suffice.
func (b *Box) warnOfConnections(bound []core.Binding) {
	total, names := 0, []string{}
	left := map[any]int{} // of what bindings share
	for _, c := range bound {
		holder, ok := c.(core.ConnectionHolder)
		if !ok || holder.HandlerConnections() == 0 {
			continue
		}
		n := holder.HandlerConnections()
		if sharer, ok := c.(core.ConnectionSharer); ok {
			n = takeShared(left, sharer, n)
		}
		kind, name := c.Describe()
		names, total = append(names, kind+" "+name), total+n
	}
	if limit := int(b.pool.Config().MaxConns); total > 0 && total+spareConnections > limit {
		b.cfg.Logger.Warn("strunk: the pool has too few connections for handlers in transactions: claims and outcomes "+
			"may have to wait. Raise pool_max_conns, or lower Concurrency", "bindings", strings.Join(names, ", "),
			"handlers", total, "max_connections", limit, "wanted", total+spareConnections)
	}
}

// takeShared returns how many of n handlers can run beside those that were counted of what the binding shares.
func takeShared(left map[any]int, sharer core.ConnectionSharer, n int) int {
	shared, most := sharer.SharedHandlers()
	if shared == nil {
		return n
	}
	if _, counted := left[shared]; !counted {
		left[shared] = most
	}
	n = min(n, left[shared])
	left[shared] -= n
	return n
}
