package schedule

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// sqlStanding reads when each schedule is due, and the database's time.
	sqlStanding = `SELECT {schema}.strunk_now(), next_due, revision, id, spec, time_zone
FROM {schema}.strunk_schedules WHERE enabled ORDER BY id`
	// sqlSetBack makes schedule $1 at revision $2 due at $3 at the latest.
	sqlSetBack = `SELECT {schema}.strunk_schedule_set_back($1::text, $2::bigint, $3::timestamptz)`
)

// standing is a schedule as it stands.
type standing struct {
	Now      time.Time
	NextDue  time.Time
	Revision int64
	ID       string
	Spec     string
	TimeZone string
}

// setBack computes all due times anew after the database's clock was set back. The due times between the right time and
// the one that the clock had shown come again: by the right clock they have not been yet.
func (r *runner) setBack(ctx context.Context) error {
	r.reported = time.Time{} // this round's record is of the right time
	var all []standing
	err := r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, r.rt.SQL(sqlStanding))
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[standing])
		return err
	})
	r.rt.Logger().Warn("strunk: the database's clock was set back; the schedules' due times are computed anew",
		"schedules", len(all))
	for _, s := range all {
		err = errors.Join(err, r.setBackOne(ctx, s))
	}
	return err
}

func (r *runner) setBackOne(ctx context.Context, s standing) error {
	spec, err := Parse(s.Spec, s.TimeZone)
	if err != nil {
		return nil // it says so when it is due
	}
	next := firstAfter(spec.timer, s.NextDue, s.Now)
	if next.IsZero() {
		return nil
	}
	return r.control(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.OneMessage(ctx, conn, core.Statement{SQL: r.rt.SQL(sqlSetBack),
			Args: []any{s.ID, s.Revision, next}})
	})
}

// firstAfter returns the first due time after now of a schedule that has one at known, which may be later.
func firstAfter(t timer, known, now time.Time) time.Time {
	if every, ok := t.(interval); ok && known.After(now) {
		d := time.Duration(every)
		return known.Add(-d * ((known.Sub(now) - 1) / d))
	}
	return t.after(known, now)
}
