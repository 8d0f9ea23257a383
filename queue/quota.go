package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// quota is this worker's part of its queue's limit (Limits.Running).
type quota struct {
	mu   sync.Mutex // of one question at a time
	last time.Time
	n    int  // what was dealt to this worker last
	over bool // the quotas of all workers exceeded the limit then
}

const (
	// quotaInterval is how often a worker asks for its quota, at most; a lease allows for less.
	quotaInterval = 250 * time.Millisecond
	// minQuotaInterval bounds that with a short lease.
	minQuotaInterval = 25 * time.Millisecond
)

// sqlTakeQuota asks for worker $1's quota of the limit of queue $2, which has $3 tasks now and could have $4.
const sqlTakeQuota = `SELECT {schema}.strunk_take_quota($1::bigint, $2::text, $3::integer, $4::integer)`

// sqlQuotasExceed looks whether the quotas of queue $1 exceed its limit.
const sqlQuotasExceed = `SELECT {schema}.strunk_quotas_exceed($1::text)`

func (l *limiter) quotaInterval() time.Duration {
	return min(quotaInterval, max(l.duration/20, minQuotaInterval))
}

// renew asks for the quota where it is time to; again fires when it will be, and is nil where the
// queue has no limit. Called by the claimer alone, which therefore begins nothing while it asks:
// what is in use can only become less meanwhile.
func (l *limiter) renew(ctx context.Context) (again <-chan time.Time, stop func()) {
	if !l.inForce().bounded {
		l.passage.through(quotaErrand)
		return nil, func() {}
	}
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	if now := time.Now(); now.Sub(l.quota.last) >= l.quotaInterval() {
		l.quota.last = now
		if err := l.takeQuota(ctx, l.concurrency); err != nil {
			l.warn("asking for a quota of the queue's limit failed; trying again", err)
		}
	}
	timer := time.NewTimer(l.quotaInterval())
	return timer.C, func() { timer.Stop() }
}

// quotaLeft is how many more tasks the limit of the queue lets this worker have.
func (l *limiter) quotaLeft() int {
	// What a claim took whose answer was lost is in use until it has been given back.
	if l.numbers.uncertain() || l.quota.over {
		return 0
	}
	return l.quota.n - int(l.buffer.unsettled.Load())
}

// using is how many tasks this worker has, or may have.
func (l *limiter) using() int {
	using := int(l.buffer.unsettled.Load())
	if l.numbers.uncertain() {
		return max(using, l.quota.n)
	}
	return using
}

func (l *limiter) takeQuota(ctx context.Context, wants int) (err error) {
	l.passage.begin(quotaErrand)
	defer func() { l.passage.end(quotaErrand, err) }()
	using := l.using()
	sent, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	conn, err := l.rt.Pool().Acquire(sent)
	if err != nil {
		return err
	}
	defer conn.Release()
	var n *int
	var over bool
	take := core.Statement{SQL: l.rt.SQL(sqlTakeQuota), Args: []any{l.lease.ID(), l.queue, using, wants},
		Scan: func(rows pgx.Rows) (err error) {
			n, err = pgx.CollectOneRow(rows, pgx.RowTo[*int])
			return err
		}}
	exceed := core.Statement{SQL: l.rt.SQL(sqlQuotasExceed), Args: []any{l.queue},
		Scan: func(rows pgx.Rows) (err error) {
			over, err = pgx.CollectOneRow(rows, pgx.RowTo[bool])
			return err
		}}
	err = core.OneMessage(sent, conn.Conn(), take, exceed)
	if err != nil {
		l.quota.n = min(l.quota.n, using) // it may have become less, and the answer was lost
		return fmt.Errorf("strunk/queue: quota: %w", err)
	}
	l.quota.over = over
	if l.quota.n = 0; n != nil {
		l.quota.n = *n
	}
	return nil
}

// drain hands back what a worker that is about to stop no longer uses, until stop is closed.
func (l *limiter) drain(stop <-chan struct{}) {
	if !l.inForce().bounded {
		return
	}
	ticker := time.NewTicker(l.quotaInterval())
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-l.lease.Lost():
			return
		case <-ticker.C:
			l.quota.mu.Lock()
			if err := l.takeQuota(l.end, 0); err != nil {
				l.warn("handing back a quota of the queue's limit failed; trying again", err)
			}
			l.quota.mu.Unlock()
		}
	}
}
