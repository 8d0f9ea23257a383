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
	for _, c := range bound {
		holder, ok := c.(core.ConnectionHolder)
		if !ok || holder.HandlerConnections() == 0 {
			continue
		}
		kind, name := c.Describe()
		names, total = append(names, kind+" "+name), total+holder.HandlerConnections()
	}
	if limit := int(b.pool.Config().MaxConns); total > 0 && total+spareConnections > limit {
		b.cfg.Logger.Warn("strunk: the pool has too few connections for handlers in transactions: claims and outcomes "+
			"may have to wait. Raise pool_max_conns, or lower Concurrency", "bindings", strings.Join(names, ", "),
			"handlers", total, "max_connections", limit, "wanted", total+spareConnections)
	}
}
