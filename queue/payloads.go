package queue

import (
	"context"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Decoding is the queue for [outbox.CheckPayloads] with one more step: read is called with each task that was decoded
// into T, and returns why its payload cannot be read, or nil. It does what the queue's handler does first, such as an
// upcast of an older version, and must have no effects. Of the task it is given the fields ID, Queue, Payload, Attempt,
// MaxAttempts, CreatedAt and Metadata.
func (q *Queue[T]) Decoding(read func(Task[T]) error) outbox.Payloads {
	return payloads[T]{q.definition(), read}
}

// payloads decodes stored tasks, after the parts Read of the box's and the queue's middleware.
type payloads[T any] struct {
	def  *definition
	read func(Task[T]) error
}

// Payloads implements outbox.Payloads.
func (p payloads[T]) Payloads(core.Seal) core.PayloadDecoder { return p.decoder() }

func (p payloads[T]) decoder() core.PayloadDecoder {
	return core.PayloadDecoder{Tasks: true, Names: p.def.names(), Err: p.def.err, Decode: p.decode}
}

func (p payloads[T]) decode(ctx context.Context, host core.Host, stored core.StoredPayload) error {
	j := &job{id: stored.ID, queue: stored.Key, createdAt: stored.CreatedAt, dueAt: stored.CreatedAt,
		attempt: stored.Attempts + 1, maxAttempts: stored.MaxAttempts, payload: stored.Payload,
		metadataJSON: stored.Metadata, logger: host.Logger()}
	if err := readThrough(ctx, j, middlewares(host, p.def.cfg.Middleware)); err != nil {
		return err
	}
	task, err := taskOf[T](j)
	if err != nil || p.read == nil {
		return err
	}
	return p.read(task)
}
