package outbox

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// reapInterval is how often the reaper looks.
const reapInterval = 10 * time.Minute

// reaper keeps partitions ahead of time.
type reaper struct {
	box    *Box
	upkeep *control
}

// sqlEnsurePartitions makes the partitions of the days ahead.
const sqlEnsurePartitions = `SELECT {schema}.strunk_ensure_task_partitions()`

func (r *reaper) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.upkeep.autocommit(ctx, core.Statement{SQL: r.box.sql(sqlEnsurePartitions)})
		if err != nil && ctx.Err() == nil {
			r.box.cfg.Logger.Warn("strunk: the reaper failed; trying again", "error", err)
		}
		core.Sleep(ctx, reapInterval)
	}
}
