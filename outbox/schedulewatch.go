package outbox

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// scheduleWatchInterval is how often a process looks whether anybody runs the schedules.
	scheduleWatchInterval = time.Minute
	// scheduleWatchPause is the pause after it has said that nobody does.
	scheduleWatchPause = time.Hour
)

// sqlUnrunSchedule reads the schedule that is overdue the longest, by more than $1 ms, while no process has run
// schedule.Runner() for as long; null where all is well. It locks nothing.
const sqlUnrunSchedule = `SELECT (SELECT s.id FROM {schema}.strunk_schedules s
WHERE s.enabled AND s.next_due < {schema}.strunk_now() - $1::bigint * interval '1 millisecond'
	AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_loops l WHERE l.loop = 'scheduler'
		AND greatest(l.last_ok_at, l.last_error_at)
			> {schema}.strunk_now() - $1::bigint * interval '1 millisecond')
ORDER BY s.next_due LIMIT 1)`

// scheduleWatch says that schedules are registered which no process runs.
type scheduleWatch struct {
	box         *Box
	maintenance *control
}

func (w *scheduleWatch) run(ctx context.Context) {
	for ctx.Err() == nil {
		core.Sleep(ctx, scheduleWatchInterval)
		if said, err := w.look(ctx, scheduleWatchInterval); said || err != nil {
			core.Sleep(ctx, scheduleWatchPause)
		}
	}
}

// look reports whether it had something to say. Its error may be that this role cannot read the schedules.
func (w *scheduleWatch) look(ctx context.Context, overdue time.Duration) (said bool, err error) {
	id, err := queryControl[*string](ctx, w.maintenance, w.box.sql(sqlUnrunSchedule), overdue.Milliseconds())
	if err != nil || id == nil {
		return false, err
	}
	w.box.cfg.Logger.Warn("strunk: a schedule is overdue and no process runs schedules; give schedule.Runner() to Run",
		"schedule", *id)
	return true, nil
}
