// Package kafka takes records of a Kafka consumer group in: each becomes a task of a queue, exactly
// once, and its offset is committed when that is committed. See package inbox/receive for what the
// queue's handler can do with it.
//
//	client, err := kgo.NewClient(kgo.SeedBrokers(...), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
//		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())
//	err = box.Run(ctx, strunkkafka.Receive(Invoices, "billing", client), Invoices.WorkerInTx(handle))
package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/queue"
)

const (
	// batchSize bounds the records that are committed together.
	batchSize = 100
	// pollWait is how long a poll waits for the first record.
	pollWait = time.Second
)

// Receive makes a receiver of a consumer group's records. The client must not commit by itself
// (kgo.DisableAutoCommit). The name is the one that records are recognised under in the inbox.
func Receive[T any](q *queue.Queue[T], name string, client *kgo.Client, opts ...receive.Option) *receive.Receiver {
	return receive.Into(q, name, &source{client: client}, opts...)
}

// source implements receive.Source.
type source struct {
	client   *kgo.Client
	returned []*kgo.Record // what could not be taken in; the client does not fetch it again
}

// Fetch implements receive.Source.
func (s *source) Fetch(ctx context.Context) (batch receive.Batch, err error) {
	if off, _ := s.client.OptValue(kgo.DisableAutoCommit).(bool); !off {
		return batch, errors.New("strunk/inbox/kafka: the client commits offsets by itself: make it with " +
			"kgo.DisableAutoCommit")
	}
	records := s.returned
	if len(records) == 0 {
		if records, err = s.poll(ctx); err != nil {
			return batch, err
		}
	}
	for _, r := range records {
		batch.Messages = append(batch.Messages, message(r))
	}
	batch.Ack = func(ctx context.Context) error {
		defer s.client.AllowRebalance()
		s.returned = nil
		if err := s.client.CommitRecords(ctx, records...); err != nil {
			return fmt.Errorf("strunk/inbox/kafka: committing offsets: %w", err)
		}
		return nil
	}
	batch.Return = func(context.Context) { s.returned = records }
	return batch, nil
}

func (s *source) poll(ctx context.Context) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	fetches := s.client.PollRecords(ctx, batchSize)
	records := fetches.Records()
	if len(records) > 0 {
		return records, nil
	}
	s.client.AllowRebalance()
	if err := fetches.Err0(); err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("strunk/inbox/kafka: %w", err)
	}
	return nil, nil
}

func message(r *kgo.Record) receive.Message {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[strings.ToLower(h.Key)] = string(h.Value)
	}
	place := fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
	return receive.NewMessage(place, string(r.Key), headers, "ce_", r.Value)
}
