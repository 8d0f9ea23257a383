package kafka_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/inbox/kafka"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

const soon = testkit.Soon

type order struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

var incoming = queue.Define[order]("incoming", queue.Config{})

// Records become tasks once, though the consumer group starts over: their offsets are lost, the inbox marks are not.
func TestReceive(t *testing.T) {
	t.Parallel()
	const n = 40
	brokers := brokers(t)
	producer := client(t, brokers)
	topic := topic(t, producer)
	for i := range n {
		record := &kgo.Record{Topic: topic, Key: fmt.Append(nil, "k", i),
			Value: fmt.Appendf(nil, `{"id":"e%d","n":%d}`, i, i),
			Headers: []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")},
				{Key: "ce_id", Value: fmt.Append(nil, i)},
				{Key: "ce_source", Value: []byte("/é")}, {Key: "ce_subject", Value: fmt.Append(nil, "e", i)}}}
		if err := producer.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	box, err := outbox.Open(t.Context(), outboxtest.New(t),
		outbox.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	var mu sync.Mutex
	handle := func(_ context.Context, task queue.Task[order]) error {
		mu.Lock()
		defer mu.Unlock()
		seen[task.Payload.ID]++
		if task.Metadata["ce-source"] != "/é" || task.CustomerKey != task.Payload.ID {
			t.Errorf("%+v", task)
		}
		return nil
	}
	byKey := receive.Enqueue(func(m receive.Message) []queue.EnqueueOption {
		return []queue.EnqueueOption{queue.CustomerKey(m.Key)}
	})
	for _, group := range []string{topic + "-first", topic + "-second"} {
		consumer := client(t, brokers, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.BlockRebalanceOnPoll(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- box.Run(ctx, kafka.Receive(incoming, "billing", consumer, byKey), incoming.Worker(handle))
		}()
		await(t, "offsets are committed", func() bool {
			committed := 0
			for _, partitions := range consumer.CommittedOffsets() {
				for _, o := range partitions {
					committed += int(o.Offset)
				}
			}
			return committed == n
		})
		await(t, "all are handled", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == n })
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was handled %d times", id, times)
		}
	}
}

// brokers returns where the brokers of STRUNK_KAFKA_BROKERS ("host:port,host:port") listen, or kfake where that is
// empty.
func brokers(t *testing.T) []string {
	t.Helper()
	if real := os.Getenv("STRUNK_KAFKA_BROKERS"); real != "" {
		return strings.Split(real, ",")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// topic makes a topic that no other test uses. It is deleted at the end of the test, and with it the groups whose names
// it begins.
func topic(t *testing.T, cl *kgo.Client) string {
	t.Helper()
	admin, name := kadm.NewClient(cl), "strunk-test-"+strings.ToLower(rand.Text())
	if _, err := admin.CreateTopic(t.Context(), 3, 1, nil, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		groups, err := admin.ListGroups(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, group := range groups.Groups() {
			if strings.HasPrefix(group, name) {
				if _, err := admin.DeleteGroup(ctx, group); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := admin.DeleteTopic(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
