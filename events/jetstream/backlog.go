package jetstream

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Destination implements forward.Named.
func (s *sink) Destination() string { return "jetstream " + s.cfg.Stream }

// Waiting implements forward.Backlog: of all consumers of the stream it takes the one that is
// furthest behind.
func (s *sink) Waiting(ctx context.Context, _ string) (messages int64, oldest time.Duration, err error) {
	stream, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return 0, 0, err
	}
	consumers, floor := stream.ListConsumers(ctx), uint64(0)
	for c := range consumers.Info() {
		if behind := int64(c.NumPending) + int64(c.NumAckPending); behind > messages {
			messages, floor = behind, c.AckFloor.Stream
		}
	}
	if err := consumers.Err(); err != nil || messages == 0 {
		return messages, 0, err
	}
	return messages, age(ctx, stream, floor), nil
}

// age is how old the first message behind a place is, by this process's clock; 0 where it is gone.
func age(ctx context.Context, stream jetstream.Stream, floor uint64) time.Duration {
	first, err := stream.GetMsg(ctx, floor+1)
	if err != nil {
		return 0
	}
	return max(time.Since(first.Time), 0)
}
