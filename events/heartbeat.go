package events

import (
	"context"
	"errors"
	"time"
)

// sqlHeartbeat renews the lease of owner $2 of subscriber $1.
const sqlHeartbeat = `SELECT {schema}.strunk_heartbeat_subscriber($1::text, $2::bigint)`

// heartbeatsPerLease is how often within a lease the owner renews it.
const heartbeatsPerLease = 6

// heartbeat renews the lease for as long as a tenure lasts.
type heartbeat struct {
	t    *tenure
	last time.Time // when the last heartbeat that was answered was sent
}

func newHeartbeat(t *tenure) *heartbeat { return &heartbeat{t: t, last: time.Now()} }

// run renews the lease until stop is closed. An owner that cannot for as long as the lease lasts
// does not wait to be told that another process is the owner.
func (h *heartbeat) run(stop <-chan struct{}) {
	ticker := time.NewTicker(max(h.t.opts.lease/heartbeatsPerLease, minRescueInterval))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
		h.send()
		if errors.Is(context.Cause(h.t.base), ErrLeaseLost) {
			<-stop
			return
		}
	}
}

// send sends one heartbeat and waits for its answer until the lease is over.
func (h *heartbeat) send() {
	t, sent := h.t, time.Now()
	ctx, cancel := context.WithDeadline(t.life.End, h.last.Add(t.opts.lease))
	defer cancel()
	var epoch *int64
	_, err := t.controlled(ctx, sqlHeartbeat, []any{t.name, t.id}, &epoch)
	switch {
	case err == nil && epoch == nil:
		t.end(ErrLeaseLost)
	case err == nil && *epoch != t.epoch:
		t.end(ErrRewound)
	case err == nil:
		h.last = sent
	case time.Since(h.last) >= t.opts.lease:
		t.end(ErrLeaseLost)
	default:
		t.logError(t.rt, "a subscriber's heartbeat failed", err)
	}
}
