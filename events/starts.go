package events

import (
	"context"
	"fmt"
)

// sqlStart stores that subscriber $1 in epoch $2 may begin events up to $3.
const sqlStart = `SELECT {schema}.strunk_start_events($1::text, $2::bigint, $3::bigint)`

// starts stores, ahead of time, up to which order events may be begun: if this process is lost, they may have been.
// For one goroutine.
type starts struct {
	t        *tenure
	mayStart int64 // events up to here may be begun
}

// allow returns when events up to order may be begun. ahead is how much further a write goes.
func (s *starts) allow(order, ahead int64) error {
	if order <= s.mayStart {
		return nil
	}
	order += ahead
	if err := s.t.guarded(s.t.base, flushed, sqlStart, s.t.name, s.t.epoch, order); err != nil {
		return fmt.Errorf("strunk/events: %w", err)
	}
	if err := context.Cause(s.t.base); err != nil {
		return err
	}
	s.mayStart = order
	return nil
}
