package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/events/kafka"
	"github.com/strunk-go/strunk/internal/faults/histories"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

const soon = testkit.Soon

type order struct {
	ID   string `json:"id"`
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

var orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})

type bed struct {
	t    testing.TB
	pool *pgxpool.Pool
	box  *outbox.Box
}

func newBed(t testing.TB) *bed {
	t.Helper()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &bed{t: t, pool: pool, box: box}
}

func (b *bed) run(bindings ...outbox.Binding) (stop func()) {
	return testkit.Run(b.t, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

func (b *bed) publish(states ...order) {
	b.t.Helper()
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := orders.PublishBatch(context.Background(), tx, states)
		return err
	})
}

func (b *bed) in(fn func(tx *outbox.OwnedTx) error) {
	b.t.Helper()
	if err := b.box.InTx(context.Background(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// eventually waits for a condition that something else brings about.
var eventually = testkit.Eventually

func cluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// read returns the records of a topic, those of a partition in order, until n different versions have arrived: after a
// broken connection some may come twice.
func read(t testing.TB, c *kfake.Cluster, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	cl := client(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	versions := map[string]bool{}
	for len(versions) < n && ctx.Err() == nil {
		for _, r := range cl.PollFetches(ctx).Records() {
			all = append(all, r)
			versions[string(r.Key)+" "+header(r, "ce_version")+string(r.Value)] = true
		}
	}
	if len(versions) < n {
		t.Fatalf("%d versions arrived, want %d", len(versions), n)
	}
	return all
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestForward(t *testing.T) {
	t.Parallel()
	for _, structured := range []bool{false, true} {
		t.Run(fmt.Sprint("structured=", structured), func(t *testing.T) {
			t.Parallel()
			b, c := newBed(t), cluster(t)
			b.publish(order{ID: "é", N: 1}, order{ID: "é", N: 2})
			b.in(func(tx *outbox.OwnedTx) error { _, err := orders.Delete(context.Background(), tx, "é"); return err })
			b.run(kafka.Forward(orders, client(t, c), kafka.Config{Topic: "orders", Structured: structured,
				Create: &kafka.Topic{Partitions: 4, Replicas: 1,
					Configs: map[string]string{"cleanup.policy": "compact"}}}))
			all := read(t, c, "orders", 3)
			for i, r := range all {
				if string(r.Key) != "é" || r.Partition != all[0].Partition {
					t.Errorf("record %d: key %q in partition %d", i, r.Key, r.Partition)
				}
			}
			if structured {
				if want := `"subject":"é"`; !strings.Contains(string(all[0].Value), want) ||
					header(all[0], "content-type") != forward.StructuredType {
					t.Errorf("%s with %v", all[0].Value, all[0].Headers)
				}
			} else if header(all[1], "ce_version") != "2" || header(all[1], "ce_subject") != "é" ||
				string(all[1].Value) != `{"id":"é","n":2}` {
				t.Errorf("%s with %v", all[1].Value, all[1].Headers)
			}
			if last := all[2]; last.Value != nil || header(last, "ce_deleted") != "true" ||
				header(last, "ce_version") != "3" {
				t.Errorf("the tombstone: %q with %v", last.Value, last.Headers)
			}
		})
	}
}

func TestUnusableTopics(t *testing.T) {
	t.Parallel()
	b, c := newBed(t), cluster(t, kfake.SeedTopics(1, "there"))
	for text, f := range map[string]*forward.Forwarder{
		"there is no topic":     kafka.Forward(orders, client(t, c), kafka.Config{Topic: "none"}),
		"Config.Topic is empty": kafka.Forward(orders, client(t, c), kafka.Config{}),
		"client is nil":         kafka.Forward(orders, nil, kafka.Config{Topic: "there"}),
		"idempotent writes are ": kafka.Forward(orders, client(t, c, kgo.DisableIdempotentWrite()),
			kafka.Config{Topic: "there"}),
	} {
		if err := b.box.Run(t.Context(), f); !errors.Is(err, forward.ErrUnusable) ||
			!strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
}

// The brokers' connections break again and again; every version arrives, in order.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	const entities, versions = 20, 10
	var published []histories.State
	b, c := newBed(t), cluster(t, kfake.SeedTopics(3, "orders"))
	b.run(kafka.Forward(orders, client(t, c), kafka.Config{Topic: "orders"}))
	for v := 1; v <= versions; v++ {
		states := make([]order, entities)
		for i := range states {
			states[i] = order{ID: fmt.Sprint("e", i), N: v}
			published = append(published, histories.State{Entity: states[i].ID, Mark: int64(v)})
		}
		b.publish(states...)
		if v == versions/2 {
			if err := c.MoveTopicPartition("orders", 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	var seen []histories.Seen
	for _, r := range read(t, c, "orders", entities*versions) {
		s := histories.Seen{State: histories.State{Entity: string(r.Key)}}
		var state order
		if err := json.Unmarshal(r.Value, &state); err != nil {
			t.Error(err)
		}
		fmt.Sscan(header(r, "ce_version"), &s.Version)
		s.Mark = int64(state.N)
		seen = append(seen, s)
	}
	for _, finding := range histories.Check(published, seen) {
		t.Error(finding)
	}
}
