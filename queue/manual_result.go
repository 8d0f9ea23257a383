package queue

import (
	"context"

	"github.com/strunk-go/strunk/outbox"
)

// ResultClaim is a Claim of a queue with results.
type ResultClaim[T, R any] struct {
	*Claim[T]
}

// Claim is Queue.Claim. Its tasks are completed with their results.
func (q *ResultQueue[T, R]) Claim(ctx context.Context, box *outbox.Box, n int,
	opts ...WorkerOption) (*ResultClaim[T, R], error) {
	c, err := q.Queue.Claim(ctx, box, n, opts...)
	if err != nil {
		return nil, err
	}
	return &ResultClaim[T, R]{c}, nil
}

// Complete ends a task as delivered, with its result, for which Wait waits. Errors: those of Claim.Complete, and one
// where the result cannot be stored, which ends nothing.
func (c *ResultClaim[T, R]) Complete(ctx context.Context, id int64, result R) error {
	j := c.claim.jobOrUnknown(id)
	if err := j.setResult(result); err != nil {
		return err
	}
	return c.claim.end(ctx, "complete", outcome{job: j, kind: outcomeComplete})
}
