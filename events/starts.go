package events

import (
	"context"
	"fmt"
)

// sqlStart stores that subscriber $1 in epoch $2 may begin events up to $3.
const sqlStart = `SELECT {schema}.strunk_start_events($1::text, $2::bigint, $3::bigint)`

// starts stores, ahead of time, up to which order events may be begun: if this process is lost, they may have been. It
// stores the next order before the reader needs it, so that the reader seldom waits for the disk. For one goroutine.
type starts struct {
	t        *tenure
	mayStart int64      // events up to here may be begun
	next     int64      // what the running write stores
	written  chan error // the end of the running write; nil where none runs
}

// allow returns when events up to order may be begun. ahead is how much further a write goes.
func (s *starts) allow(order, ahead int64) error {
	for order > s.mayStart {
		if s.written == nil {
			s.write(order + ahead)
		}
		if err := s.await(); err != nil {
			return err
		}
	}
	if s.written == nil && order+ahead/2 > s.mayStart {
		s.write(order + ahead)
	}
	return nil
}

func (s *starts) write(order int64) {
	written := make(chan error, 1)
	s.next, s.written = order, written
	go func() { written <- s.t.guarded(s.t.base, flushed, sqlStart, s.t.name, s.t.epoch, order) }()
}

// await waits for the end of the running write.
func (s *starts) await() error {
	err := <-s.written
	s.written = nil
	if err != nil {
		return fmt.Errorf("strunk/events: %w", err)
	}
	if err := context.Cause(s.t.base); err != nil {
		return err
	}
	s.mayStart = s.next
	return nil
}

// close waits until no write runs.
func (s *starts) close() {
	if s.written != nil {
		<-s.written
	}
}
