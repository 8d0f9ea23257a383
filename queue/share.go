package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// share is this worker's part of its queue's limit (Limits.Running).
type share struct {
	mu   sync.Mutex // of one question at a time
	last time.Time
	n    int // what was dealt to this worker last
}

const (
	// shareInterval is how often a worker asks for its share, at most; a lease allows for less.
	shareInterval = 250 * time.Millisecond
	// shareFastest bounds that with a short lease.
	shareFastest = 25 * time.Millisecond
)

// sqlTakeShare asks for worker $1's share of the limit of queue $2, which has $3 tasks now and could have $4.
const sqlTakeShare = `SELECT {schema}.strunk_take_share($1::bigint, $2::text, $3::integer, $4::integer)`

func (s *session) shareInterval() time.Duration {
	return min(shareInterval, max(s.opts.lease/20, shareFastest))
}

// renewShare asks for the share where it is time to; again fires when it will be, and is nil where the queue has no limit. Called by
// the feeder alone, which therefore begins nothing while it asks: what is in use can only become less meanwhile.
func (s *session) renewShare(ctx context.Context) (again <-chan time.Time, stop func()) {
	if !s.inForce().shared {
		return nil, func() {}
	}
	s.share.mu.Lock()
	defer s.share.mu.Unlock()
	if now := time.Now(); now.Sub(s.share.last) >= s.shareInterval() {
		s.share.last = now
		if err := s.takeShare(ctx, s.opts.concurrency); err != nil {
			s.logError("asking for a share of the queue's limit failed", err)
		}
	}
	timer := time.NewTimer(s.shareInterval())
	return timer.C, func() { timer.Stop() }
}

// shareLeft is how many more tasks the limit of the queue lets this worker have.
func (s *session) shareLeft() int {
	if s.held.uncertain() { // what a claim took whose answer was lost is in use until it has been given back
		return 0
	}
	return s.share.n - int(s.unsettled.Load())
}

func (s *session) takeShare(ctx context.Context, wants int) error {
	using := int(s.unsettled.Load())
	if s.held.uncertain() {
		using = max(using, s.share.n)
	}
	sent, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	conn, err := s.rt.Pool().Acquire(sent)
	if err != nil {
		return err
	}
	defer conn.Release()
	var n *int
	err = core.OneMessage(sent, conn.Conn(), core.Statement{SQL: s.rt.SQL(sqlTakeShare),
		Args: []any{s.lease.ID(), s.def.name, using, wants},
		Scan: func(rows pgx.Rows) (err error) {
			n, err = pgx.CollectOneRow(rows, pgx.RowTo[*int])
			return err
		}})
	if err != nil {
		s.share.n = min(s.share.n, using) // it may have become less, and the answer was lost
		return fmt.Errorf("strunk/queue: share: %w", err)
	}
	if s.share.n = 0; n != nil {
		s.share.n = *n
	}
	return nil
}

// drainShare hands back what a worker that is about to stop no longer uses, until stop is closed.
func (s *session) drainShare(stop <-chan struct{}) {
	if !s.inForce().shared {
		return
	}
	ticker := time.NewTicker(s.shareInterval())
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-s.lease.Lost():
			return
		case <-ticker.C:
			s.share.mu.Lock()
			if err := s.takeShare(context.Background(), 0); err != nil {
				s.logError("handing back a share of the queue's limit failed", err)
			}
			s.share.mu.Unlock()
		}
	}
}
