package outbox

import (
	"context"

	"github.com/strunk-go/strunk/internal/core"
)

// halved reports whether the next batches of a loop are smaller because one ran out of time, and says so.
func (b *Box) halved(ctx context.Context, what string, limit *core.BatchLimit, err error) bool {
	if ctx.Err() != nil || !limit.Failed(err) {
		return false
	}
	rows, _ := limit.Now()
	b.cfg.Logger.Warn("strunk: "+what+" took too long; the next transactions are smaller", "max_rows", rows,
		"error", err)
	return true
}
