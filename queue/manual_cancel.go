package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/strunk-go/strunk/internal/core"
)

// CancelRequests returns, in ascending order, the tasks of the claim that somebody has asked to
// cancel and that have not been ended. Ask beside Heartbeat. Stop the work on these tasks and end
// them with Fail, which cancels them; one that is completed all the same is done.
func (c *Claim[T]) CancelRequests(ctx context.Context) (ids []int64, err error) {
	requests, err := c.claim.cancelRequests(ctx)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: cancel requests: queue %q: %w", c.claim.def.name, err)
	}
	for id := range requests {
		if c.claim.job(id) != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// cancelRequests reads which tasks of the queue are to be cancelled, with their last errors. Those
// of them that wait are cancelled by it, and what has ended is forgotten, as at each look of a
// worker.
func (h *manualClaim) cancelRequests(ctx context.Context) (map[int64]string, error) {
	var found controlMessages
	err := core.Write(ctx, h.host.Pool(), core.Statement{SQL: h.host.SQL(sqlControl), Args: []any{h.def.name},
		Scan: found.scan})
	return found.requests, err
}

// fail ends an attempt with an error, or because the task is to be cancelled.
func (h *manualClaim) fail(ctx context.Context, j *job, cause error) error {
	requests, err := h.cancelRequests(ctx)
	if err != nil {
		return fmt.Errorf("strunk/queue: fail: queue %q, task %d: %w", h.def.name, j.id, err)
	}
	text, requested := requests[j.id]
	if !requested {
		return h.end(ctx, "fail", h.judge.decide(j, cause, nil))
	}
	if err := h.end(ctx, "fail", h.judge.decide(j, cause, &cancelled{text})); err != nil {
		return err
	}
	if _, err := h.cancelRequests(ctx); err != nil { // one that was put off must not begin again
		h.host.Logger().Warn("strunk: looking for cancellations failed; the next claim of the queue does it", "queue",
			h.def.name, "error", err)
	}
	return nil
}
