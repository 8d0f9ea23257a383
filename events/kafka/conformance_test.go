package kafka_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/events/kafka"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/brokertest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) {
	faults.Main(brokertest.Roles(open))
	testkit.Main(m)
}

// The list that every forwarder must hold, against kfake and the brokers of STRUNK_KAFKA_BROKERS
// ("host:port,host:port").
func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, brokertest.Broker{Address: strings.Join(cluster(t).ListenAddrs(), ","),
		Variable: "STRUNK_KAFKA_BROKERS", Open: open})
}

// connected implements brokertest.Client.
type connected struct {
	address string
	network *brokertest.Network
	client  *kgo.Client
}

func open(address string, network *brokertest.Network) (brokertest.Client, error) {
	c := connected{address: address, network: network}
	cl, err := c.connect(kgo.ProducerBatchMaxBytes(brokertest.MaxBytes))
	c.client = cl
	return c, err
}

func (c connected) connect(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(c.address, ",")...),
		kgo.Dialer(c.network.DialContext), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))...)
}

func (c connected) Close() { c.client.Close() }

func (c connected) Forward(destination string, cfg brokertest.Config, opts ...forward.Option) *forward.Forwarder {
	to := kafka.Config{Topic: destination, Structured: cfg.Structured}
	if cfg.Create {
		to.Create = &kafka.Topic{Partitions: 3, Replicas: 1}
	}
	return kafka.Forward(brokertest.Stream, c.client, to, opts...)
}

func (c connected) Read(ctx context.Context, destination string) (all []receive.Message, err error) {
	n, err := c.held(ctx, destination)
	if err != nil {
		return nil, err
	}
	cl, err := c.connect(kgo.ConsumeTopics(destination), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	for int64(len(all)) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for _, r := range fetches.Records() {
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			place := fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
			all = append(all, receive.NewMessage(place, string(r.Key), headers, "ce_", r.Value))
		}
	}
	return all, nil
}

// held counts the records of a topic.
func (c connected) held(ctx context.Context, topic string) (n int64, err error) {
	admin := kadm.NewClient(c.client)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, err
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		n += end.Offset - start.Offset
	})
	return n, starts.Error()
}

func (c connected) Purge(ctx context.Context, destination string) error {
	admin := kadm.NewClient(c.client)
	ends, err := admin.ListEndOffsets(ctx, destination)
	if err != nil {
		return err
	}
	_, err = admin.DeleteRecords(ctx, ends.Offsets())
	return err
}

func (c connected) Remove(ctx context.Context, destination string) error {
	_, err := kadm.NewClient(c.client).DeleteTopic(ctx, destination)
	return err
}
