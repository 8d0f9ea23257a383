package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	watermillTopic = "states"
	watermillBatch = 1_000
	watermillPoll  = 10 * time.Millisecond
)

var watermillSchema = sql.DefaultPostgreSQLSchema{SubscribeBatchSize: watermillBatch}

type watermillEvents struct {
	pool      *pgxpool.Pool
	publisher *sql.Publisher
}

func (*watermillEvents) describe() (module, settings string) {
	return "github.com/ThreeDotsLabs/watermill-sql/v4", fmt.Sprintf("`SubscribeBatchSize` %d, `PollInterval` %v, no "+
		"`AckDeadline`; the default schema and offsets over pgx", watermillBatch, watermillPoll)
}

func (w *watermillEvents) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	subscriber, err := w.subscriber(pool, "first")
	if err != nil {
		return err
	}
	return subscriber.SubscribeInitialize(watermillTopic)
}

func (w *watermillEvents) open(_ context.Context, pool *pgxpool.Pool) (err error) {
	w.pool = pool
	w.publisher, err = sql.NewPublisher(sql.BeginnerFromPgx(pool), sql.PublisherConfig{SchemaAdapter: watermillSchema},
		watermill.NopLogger{})
	return err
}

func (w *watermillEvents) subscriber(pool *pgxpool.Pool, group string) (*sql.Subscriber, error) {
	var noDeadline time.Duration
	return sql.NewSubscriber(sql.BeginnerFromPgx(pool), sql.SubscriberConfig{
		ConsumerGroup:  group,
		AckDeadline:    &noDeadline,
		PollInterval:   watermillPoll,
		SchemaAdapter:  watermillSchema,
		OffsetsAdapter: sql.DefaultPostgreSQLOffsetsAdapter{},
	}, watermill.NopLogger{})
}

func watermillMessage(ctx context.Context, j job) (*message.Message, error) {
	payload, err := json.Marshal(j)
	made := message.NewMessage(watermill.NewUUID(), payload)
	made.SetContext(ctx)
	return made, err
}

func (w *watermillEvents) addMany(ctx context.Context, jobs []job) error {
	made := make([]*message.Message, len(jobs))
	for i, j := range jobs {
		var err error
		if made[i], err = watermillMessage(ctx, j); err != nil {
			return err
		}
	}
	return w.publisher.Publish(watermillTopic, made...)
}

func (w *watermillEvents) addOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error { return w.addIn(ctx, tx, j) })
}

func (w *watermillEvents) addIn(ctx context.Context, tx pgx.Tx, j job) error {
	publisher, err := sql.NewPublisher(sql.TxFromPgx(tx), sql.PublisherConfig{SchemaAdapter: watermillSchema},
		watermill.NopLogger{})
	if err != nil {
		return err
	}
	made, err := watermillMessage(ctx, j)
	if err != nil {
		return err
	}
	return publisher.Publish(watermillTopic, made)
}

func (w *watermillEvents) work(ctx context.Context, how manner, handled func(job)) (worker, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop := func() error {
		cancel()
		running.Wait()
		return nil
	}
	for i := range how.Width {
		subscriber, err := w.subscriber(w.pool, how.Names+strconv.Itoa(i))
		if err != nil {
			return worker{stop: stop}, err
		}
		messages, err := subscriber.Subscribe(ctx, watermillTopic)
		if err != nil {
			return worker{stop: stop}, err
		}
		running.Go(func() { consume(messages, handled) })
	}
	return worker{stop: stop, settle: func(int) error { return stop() }}, nil
}

func consume(messages <-chan *message.Message, handled func(job)) {
	for m := range messages {
		var j job
		if err := json.Unmarshal(m.Payload, &j); err == nil {
			handled(j)
		}
		m.Ack()
	}
}
