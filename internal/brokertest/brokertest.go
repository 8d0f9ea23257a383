// Package brokertest is the list of what every forwarder of events must hold, whatever broker it sends to: Run goes
// through it. The modules of the brokers run it against the server that they can start inside a test, and against a
// real one where its address is in the environment. Package events/forward runs it against Fake.
package brokertest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/faults/histories"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// MaxBytes is the size of the largest message that a destination of a Client takes, about.
const MaxBytes = 64 << 10

// Stream is what is forwarded.
var Stream = events.Define("order", func(o Order) string { return o.ID }, events.Config{})

// Order is the state of an entity. N tells the states of an entity apart.
type Order struct {
	ID   string `json:"id"`
	N    int64  `json:"n"`
	Text string `json:"text,omitempty"`
}

// Config says how events are sent.
type Config struct {
	// Structured sends each event as one JSON document.
	Structured bool
	// Create makes the destination where it is not there.
	Create bool
}

// Client is connected to a broker. Its forwarders send again and again until a message has arrived, and a destination
// that they make takes messages of up to MaxBytes.
type Client interface {
	// Forward makes a forwarder of Stream to a destination: a stream of JetStream, a topic of Kafka.
	Forward(destination string, cfg Config, opts ...forward.Option) *forward.Forwarder
	// Read returns the messages that a destination holds, those of an entity in their order.
	Read(ctx context.Context, destination string) ([]receive.Message, error)
	// Purge empties a destination.
	Purge(ctx context.Context, destination string) error
	// Remove deletes a destination.
	Remove(ctx context.Context, destination string) error
	// Close ends the client.
	Close()
}

// Broker is a kind of broker, and where one listens.
type Broker struct {
	// Address is that of a broker inside the test.
	Address string
	// Variable is the environment variable that may hold the address of a real one; empty means none.
	Variable string
	// Open connects to the broker over a network. The broker may be away.
	Open func(address string, network *Network) (Client, error)
	// DropsRepeats says that the broker stores a message once that is sent twice within some minutes, by any process.
	DropsRepeats bool
}

// Roles are what the test binary is in the child processes of Run: hand them to faults.Main.
func Roles(open func(address string, network *Network) (Client, error)) faults.Roles {
	return faults.Roles{childRole: func() {
		if err := forwards(open); err != nil {
			_, _ = os.Stderr.WriteString("the forwarder: " + err.Error() + "\n")
			os.Exit(1)
		}
	}}
}

const childRole = "forwarder"

// forwards is a process that forwards until it is killed.
func forwards(open func(address string, network *Network) (Client, error)) error {
	ctx := context.Background()
	client, err := open(os.Getenv("CHILD_BROKER"), &Network{})
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	if err != nil {
		return err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		return err
	}
	return box.Run(ctx, client.Forward(os.Getenv("CHILD_DESTINATION"), Config{Create: true}, soonOver...))
}

// soonOver has another process take over after a second.
var soonOver = []forward.Option{forward.VisibilityTimeout(time.Second), forward.Backoff(20*time.Millisecond,
	200*time.Millisecond)}

// bed is a database, a client of the broker and a destination of their own.
type bed struct {
	t           *testing.T
	broker      Broker
	network     *Network
	client      Client
	destination string
	*base
}

// base is a database, and what was published in it.
type base struct {
	t         *testing.T
	pool      *pgxpool.Pool
	box       *outbox.Box
	published []histories.State
}

func newBed(t *testing.T, broker Broker) *bed {
	t.Helper()
	b := &bed{t: t, broker: broker, network: &Network{}, destination: "strunk-test-" + strings.ToLower(rand.Text()),
		base: newBase(t, outboxtest.New(t))}
	client, err := broker.Open(broker.Address, b.network)
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Soon)
		defer cancel()
		b.network.SetDown(false)
		b.network.SetSilent(false)
		_ = client.Remove(ctx, b.destination) // not every test has made it
		client.Close()
	})
	return b
}

// hour is a grace period that no test waits for.
const hour = time.Hour

func newBase(t *testing.T, pool *pgxpool.Pool) *base {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Grace: hour,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return &base{t: t, pool: pool, box: box}
}

// run drives bindings until the returned function is called, or the test ends.
func (b *base) run(bindings ...outbox.Binding) (stop func()) {
	return testkit.Run(b.t, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

// forwarder is the bed's, with a destination that is made.
func (b *bed) forwarder() *forward.Forwarder {
	return b.client.Forward(b.destination, Config{Create: true}, soonOver...)
}

// publish publishes states in one transaction.
func (b *base) publish(states ...Order) {
	b.t.Helper()
	b.in(func(ctx context.Context, tx outbox.Tx) error {
		_, err := Stream.PublishBatch(ctx, tx, states)
		return err
	})
	for _, s := range states {
		b.published = append(b.published, histories.State{Entity: s.ID, Mark: s.N})
	}
}

func (b *base) in(fn func(ctx context.Context, tx outbox.Tx) error) {
	b.t.Helper()
	ctx := context.Background()
	if err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error { return fn(ctx, tx) }); err != nil {
		b.t.Fatal(err)
	}
}

// each returns a state with the mark n of each of some entities.
func each(entities int, n int64) (states []Order) {
	for i := range entities {
		states = append(states, Order{ID: "e" + string(rune('a'+i)), N: n})
	}
	return states
}
