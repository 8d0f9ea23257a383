package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Schedule is a recurring task, without its payload.
type Schedule struct {
	ID       string `json:"id"`
	Queue    string `json:"queue"`
	Spec     string `json:"spec"`
	TimeZone string `json:"time_zone"`
	Enabled  bool   `json:"enabled"`
	// NextDue is when the next task is due; LateBy how long ago, where it should have been.
	NextDue    time.Time  `json:"next_due"`
	LateBy     Duration   `json:"late_seconds"`
	LastDue    *time.Time `json:"last_due,omitempty"`
	LastTaskID int64      `json:"last_task_id,omitempty"`
	LastError  string     `json:"last_error,omitempty"`
}

const (
	// sqlSchedules reads at most $2 schedules after the id $1. It locks nothing.
	sqlSchedules = `SELECT ` + scheduleColumns + ` FROM {schema}.strunk_schedules WHERE id > $1::text COLLATE "C"
	ORDER BY id LIMIT $2::integer`
	// sqlSchedule reads the schedule $1. It locks nothing.
	sqlSchedule = `SELECT ` + scheduleColumns + ` FROM {schema}.strunk_schedules WHERE id = $1::text`

	scheduleColumns = `id, queue, spec, time_zone, enabled, next_due,
	CASE WHEN enabled THEN greatest(extract(epoch FROM {schema}.strunk_now() - next_due) * 1000000, 0)
	ELSE 0 END::bigint,
	last_due, coalesce(last_task_id, 0), coalesce(last_error, '')`
)

// Schedules returns the recurring tasks in the order of their ids.
func Schedules(ctx context.Context, box *outbox.Box, page Page) (all []Schedule, err error) {
	return paged(ctx, box, "schedules", page, func(into *[]Schedule, after string, limit int) question {
		return many(into, sqlSchedules, []any{after, limit}, scanSchedule)
	})
}

// ScheduleStats returns one recurring task. Errors: [ErrNotFound], [ErrInvalid].
func ScheduleStats(ctx context.Context, box *outbox.Box, id string) (s Schedule, err error) {
	if err := core.CheckName(id); err != nil {
		return s, fmt.Errorf("strunk/ops: schedule stats: the id %w: %w", err, ErrInvalid)
	}
	var found []Schedule
	err = ask(ctx, box, many(&found, sqlSchedule, []any{id}, scanSchedule))
	switch {
	case err != nil:
		return s, wrap("schedule stats", err)
	case len(found) == 0:
		return s, fmt.Errorf("strunk/ops: schedule stats: schedule %q: %w", id, ErrNotFound)
	}
	return found[0], nil
}

func scanSchedule(rows pgx.Rows) (s Schedule, err error) {
	var late int64
	err = rows.Scan(&s.ID, &s.Queue, &s.Spec, &s.TimeZone, &s.Enabled, &s.NextDue, &late, &s.LastDue, &s.LastTaskID,
		&s.LastError)
	s.LateBy = micros(late)
	return s, err
}
