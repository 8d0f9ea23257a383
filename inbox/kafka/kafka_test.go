package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

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
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	producer := client(t, c)
	for i := range n {
		record := &kgo.Record{Topic: "orders", Key: fmt.Append(nil, "k", i),
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
	for _, group := range []string{"first", "second"} {
		consumer := client(t, c, kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
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

func client(t *testing.T, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, opts...)...)
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
