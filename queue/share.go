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

func (l *limiter) shareInterval() time.Duration {
	return min(shareInterval, max(l.duration/20, shareFastest))
}

// renew asks for the share where it is time to; again fires when it will be, and is nil where the queue has no limit. Called by
// the claimer alone, which therefore begins nothing while it asks: what is in use can only become less meanwhile.
func (l *limiter) renew(ctx context.Context) (again <-chan time.Time, stop func()) {
	if !l.inForce().shared {
		return nil, func() {}
	}
	l.share.mu.Lock()
	defer l.share.mu.Unlock()
	if now := time.Now(); now.Sub(l.share.last) >= l.shareInterval() {
		l.share.last = now
		if err := l.takeShare(ctx, l.concurrency); err != nil {
			l.warn("asking for a share of the queue's limit failed; trying again", err)
		}
	}
	timer := time.NewTimer(l.shareInterval())
	return timer.C, func() { timer.Stop() }
}

// shareLeft is how many more tasks the limit of the queue lets this worker have.
func (l *limiter) shareLeft() int {
	if l.numbers.uncertain() { // what a claim took whose answer was lost is in use until it has been given back
		return 0
	}
	return l.share.n - int(l.buffer.unsettled.Load())
}

func (l *limiter) takeShare(ctx context.Context, wants int) error {
	using := int(l.buffer.unsettled.Load())
	if l.numbers.uncertain() {
		using = max(using, l.share.n)
	}
	sent, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	conn, err := l.rt.Pool().Acquire(sent)
	if err != nil {
		return err
	}
	defer conn.Release()
	var n *int
	err = core.OneMessage(sent, conn.Conn(), core.Statement{SQL: l.rt.SQL(sqlTakeShare),
		Args: []any{l.lease.ID(), l.queue, using, wants},
		Scan: func(rows pgx.Rows) (err error) {
			n, err = pgx.CollectOneRow(rows, pgx.RowTo[*int])
			return err
		}})
	if err != nil {
		l.share.n = min(l.share.n, using) // it may have become less, and the answer was lost
		return fmt.Errorf("strunk/queue: share: %w", err)
	}
	if l.share.n = 0; n != nil {
		l.share.n = *n
	}
	return nil
}

// drain hands back what a worker that is about to stop no longer uses, until stop is closed.
func (l *limiter) drain(stop <-chan struct{}) {
	if !l.inForce().shared {
		return
	}
	ticker := time.NewTicker(l.shareInterval())
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-l.lease.Lost():
			return
		case <-ticker.C:
			l.share.mu.Lock()
			if err := l.takeShare(context.Background(), 0); err != nil {
				l.warn("handing back a share of the queue's limit failed; trying again", err)
			}
			l.share.mu.Unlock()
		}
	}
}
