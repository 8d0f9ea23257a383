package jetstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/internal/brokertest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/faults/histories"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	faults.Main(brokertest.Roles(open))
	testkit.Main(m)
}

// soon bounds every wait for something that must happen.
const soon = testkit.Soon

type order struct {
	ID   string `json:"id"`
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

var orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})

// bed is a database with a box.
type bed struct {
	t    testing.TB
	pool *pgxpool.Pool
	box  *outbox.Box
}

func newBed(t testing.TB) *bed { return bedOn(t, outboxtest.New(t)) }

func bedOn(t testing.TB, pool *pgxpool.Pool) *bed {
	t.Helper()
	return bedWith(t, pool, 5*time.Second)
}

func bedWith(t testing.TB, pool *pgxpool.Pool, grace time.Duration) *bed {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: logger, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	return &bed{t: t, pool: pool, box: box}
}

// run drives bindings until the returned function is called, or the test ends.
func (b *bed) run(bindings ...outbox.Binding) (stop func()) {
	return testkit.Run(b.t, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

func (b *bed) publish(states ...order) {
	b.t.Helper()
	err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
		_, err := orders.PublishBatch(context.Background(), tx, states)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) delete(id string) {
	b.t.Helper()
	err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
		_, err := orders.Delete(context.Background(), tx, id)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) caughtUp(name string) {
	b.t.Helper()
	eventually(b.t, name+" reaches the head", func() bool {
		var waiting int
		if err := b.pool.QueryRow(context.Background(), `SELECT count(*) FROM public.strunk_outbox
			WHERE kind = 'event' AND status = 'pending'`).Scan(&waiting); err != nil {
			b.t.Fatal(err)
		}
		var positions int
		err := b.pool.QueryRow(context.Background(), `SELECT positions FROM public.strunk_subscriber_lag
			WHERE name = $1`, name).Scan(&positions)
		return err == nil && waiting == 0 && positions == 0
	})
}

// eventually waits for a condition that something else brings about.
var eventually = testkit.Eventually

// messages reads all messages that a stream holds.
func messages(t testing.TB, js jetstream.JetStream, name string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	var stream jetstream.Stream
	answered(t, "the stream", func(ctx context.Context) (err error) {
		stream, err = js.Stream(ctx, name)
		return err
	})
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		answered(t, fmt.Sprint("message ", seq), func(ctx context.Context) error {
			msg, err := stream.GetMsg(ctx, seq)
			all = append(all, msg)
			if err != nil {
				all = all[:len(all)-1]
			}
			return err
		})
	}
	return all
}

// answered asks until there is an answer: a cluster that has just lost a member may give none.
func answered(t testing.TB, what string, ask func(context.Context) error) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		last = ask(ctx)
		cancel()
		if last == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, last)
}

// history is the versions of each entity in the order of the stream, as "a: 1 2 3".
func history(all []*jetstream.RawStreamMsg) map[string]string {
	versions := map[string][]string{}
	for _, m := range all {
		id := m.Header.Get("ce-subject")
		versions[id] = append(versions[id], m.Header.Get("ce-version"))
	}
	lines := map[string]string{}
	for id, v := range versions {
		lines[id] = strings.Join(v, " ")
	}
	return lines
}

// everyVersion checks that the stream has the versions 1 to last of n entities, as many publishes them.
func everyVersion(t testing.TB, all []*jetstream.RawStreamMsg, n, last int) {
	t.Helper()
	var published []histories.State
	for v := 1; v <= last; v++ {
		for _, o := range many(n, v) {
			published = append(published, histories.State{Entity: o.ID, Mark: int64(o.N)})
		}
	}
	var seen []histories.Seen
	for _, m := range all {
		s := histories.Seen{State: histories.State{Entity: m.Header.Get("ce-subject")}}
		var state order
		if err := json.Unmarshal(m.Data, &state); err != nil {
			t.Error(err)
		}
		fmt.Sscan(m.Header.Get("ce-version"), &s.Version)
		s.Mark = int64(state.N)
		seen = append(seen, s)
	}
	for _, finding := range histories.Check(published, seen) {
		t.Error(finding)
	}
}

var create = &jetstream.StreamConfig{Storage: jetstream.MemoryStorage}

func toOrders(js jetstream.JetStream) outbox.Binding {
	return strunkjs.Forward(orders, js, strunkjs.Config{Stream: "ORDERS", Create: create, AckTimeout: time.Second},
		forward.VisibilityTimeout(2*time.Second))
}

const forwarderName = "jetstream:ORDERS:order"
