// Package kafka carries events from the database to a Kafka topic.
//
//	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), // github.com/twmb/franz-go/pkg/kgo
//		kgo.ProducerLinger(0))
//	err = box.Run(ctx, kafka.Forward(Orders, client, kafka.Config{Topic: "orders"}))
//
// The forwarder is a subscriber (see package events/forward): a durable cursor, one owner at a
// time, failover, replay, pause and parked entities. The cursor moves when all in-sync replicas
// have acknowledged the records. The record's key is the entity id, so that the events of an entity
// arrive in order in one partition. A deletion is a tombstone: a null value, which a compacted
// topic understands. The idempotent producer keeps retries of one process from being stored twice.
// After a crash the last events may be there twice; the header ce_version tells.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
)

// Config says how events become records. Only Topic is required.
type Config struct {
	// Topic is the topic's name.
	Topic string
	// Name is the subscriber's name, the forwarder's durable identity; empty means "kafka:", the
	// topic, ":" and the entity type.
	Name string
	// Structured sends each event as one JSON document that holds attributes and state. Otherwise
	// (binary mode) the attributes are headers, and the value is the state. The value of a
	// tombstone is null in both.
	Structured bool
	// Create makes the topic where it is not there yet.
	Create *Topic
}

// Topic says how a topic is made.
type Topic struct {
	// Partitions and Replicas count them; zero leaves them to the broker.
	Partitions int32
	Replicas   int16
	// Configs are the topic's settings, "cleanup.policy" for example.
	Configs map[string]string
}

// Forward makes a forwarder of a stream's events to Kafka. The client must be an idempotent producer that waits for all
// in-sync replicas, which is its default, and choose the partition by the key.
// Give it kgo.ProducerLinger(0): a forwarder sends many records at once and then waits for them, and each wait is
// longer by what the client lingers: 10 ms by its default.
func Forward[T any](stream *events.Stream[T], client *kgo.Client, cfg Config,
	opts ...forward.Option) *forward.Forwarder {
	if cfg.Name == "" {
		cfg.Name = "kafka:" + cfg.Topic + ":" + stream.EntityType()
	}
	return forward.To(stream, cfg.Name, &sink{client: client, cfg: cfg}, opts...)
}

// sink implements forward.Sink.
type sink struct {
	client *kgo.Client
	cfg    Config
}

// Destination implements forward.Named.
func (s *sink) Destination() string { return "kafka " + s.cfg.Topic }

// Send implements forward.Sink.
func (s *sink) Send(_ context.Context, m *forward.Message) forward.Ack {
	done := make(chan error, 1)
	// The record outlives the handler's context: the client keeps the order of what it has begun to send.
	s.client.Produce(context.Background(), s.record(m), func(r *kgo.Record, err error) { done <- s.explain(r, err) })
	return forward.Await(done)
}

func (s *sink) explain(r *kgo.Record, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return forward.Refused("its value has %d bytes: raise max.message.bytes of topic %q and the client's "+
			"ProducerBatchMaxBytes, "+
			"then retry the parked entity: %w", len(r.Value), s.cfg.Topic, err)
	}
	return fmt.Errorf("topic %q: %w", s.cfg.Topic, err)
}

// record is an event as the CloudEvents binding for Kafka has it.
func (s *sink) record(m *forward.Message) *kgo.Record {
	r := &kgo.Record{Topic: s.cfg.Topic, Key: []byte(m.EntityID), Timestamp: m.Time}
	header := func(key, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	if s.cfg.Structured && !m.Deleted() {
		header("content-type", forward.StructuredType)
		r.Value = m.Structured()
		return r
	}
	for _, a := range m.Attributes() {
		header("ce_"+a.Name, a.Value)
	}
	if !m.Deleted() {
		header("content-type", forward.ContentType)
		r.Value = m.Data
	}
	return r
}

// Check implements forward.Sink.
func (s *sink) Check(ctx context.Context, _ string) error {
	switch {
	case s.client == nil:
		return forward.Unusable("the Kafka client is nil")
	case s.cfg.Topic == "":
		return forward.Unusable("Config.Topic is empty")
	}
	if off, _ := s.client.OptValue(kgo.DisableIdempotentWrite).(bool); off {
		return forward.Unusable("the client's idempotent writes are disabled: without them a retry changes the order")
	}
	return s.checkTopic(ctx, kadm.NewClient(s.client))
}

func (s *sink) checkTopic(ctx context.Context, admin *kadm.Client) error {
	topics, err := admin.ListTopics(ctx, s.cfg.Topic)
	if err != nil {
		return err
	}
	err = topics[s.cfg.Topic].Err
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return s.create(ctx, admin)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return forward.Unusable("the client may not use topic %q: %w", s.cfg.Topic, err)
	case err != nil:
		return err
	}
	configs, err := admin.DescribeTopicConfigs(ctx, s.cfg.Topic)
	if err != nil {
		return err
	}
	described, err := configs.On(s.cfg.Topic, nil)
	if err == nil {
		err = described.Err
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return nil // a client that may write need not be able to read the settings
	}
	if err != nil {
		return err
	}
	return s.problems(described)
}

func (s *sink) create(ctx context.Context, admin *kadm.Client) error {
	if s.cfg.Create == nil {
		return forward.Unusable("there is no topic %q: make it, or set Config.Create", s.cfg.Topic)
	}
	partitions, replicas, configs := s.cfg.Create.Partitions, s.cfg.Create.Replicas, map[string]*string{}
	if partitions == 0 {
		partitions = -1
	}
	if replicas == 0 {
		replicas = -1
	}
	for key, value := range s.cfg.Create.Configs {
		configs[key] = &value
	}
	_, err := admin.CreateTopic(ctx, partitions, replicas, configs, s.cfg.Topic)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists): // another process has made it meanwhile
		return nil
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.InvalidConfig),
		errors.Is(err, kerr.InvalidReplicationFactor), errors.Is(err, kerr.InvalidPartitions),
		errors.Is(err, kerr.InvalidTopicException):
		return forward.Unusable("the topic %q cannot be made: %w", s.cfg.Topic, err)
	}
	return err
}

// smallestMessage is the least that a topic must take: below it hardly an event's headers fit.
const smallestMessage = 1024

// problems returns why a topic cannot hold events.
func (s *sink) problems(described kadm.ResourceConfig) error {
	for _, c := range described.Configs {
		value := c.MaybeValue()
		if c.Key != "max.message.bytes" || strings.TrimSpace(value) == "" {
			continue
		}
		if most, err := strconv.ParseInt(value, 10, 64); err == nil && most < smallestMessage {
			return forward.Unusable("topic %q: its max.message.bytes is %d: allow at least %d", s.cfg.Topic, most,
				smallestMessage)
		}
	}
	return nil
}
