package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// many returns version v of n entities.
func many(n, v int) (states []order) {
	for i := range n {
		states = append(states, order{ID: fmt.Sprint("e", i), N: v})
	}
	return states
}

// The broker is away at the start and again in between; nothing is lost, nothing is parked, nothing changes its order.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	const entities, versions = 40, 30
	s := natstest.Start(t)
	b, js := newBed(t), natstest.Connect(t, s.URL())
	s.Stop()
	b.run(strunkjs.Forward(orders, js, strunkjs.Config{Stream: "ORDERS", AckTimeout: 500 * time.Millisecond,
		Create: &jetstream.StreamConfig{Storage: jetstream.FileStorage}}))
	for v := 1; v <= versions; v++ {
		switch v {
		case versions / 3, 2 * versions / 3:
			s.Start()
		case versions / 2:
			s.Stop()
		}
		b.publish(many(entities, v)...)
		time.Sleep(50 * time.Millisecond)
	}
	b.caughtUp(forwarderName)
	everyVersion(t, messages(t, js, "ORDERS"), entities, versions)
	if parked, err := events.Parked(t.Context(), b.box, forwarderName, 10); err != nil || len(parked) != 0 {
		t.Errorf("parked: %+v, %v", parked, err)
	}
}

// A forwarder whose broker is away ends within AckTimeout, not with the grace period, and passes over nothing.
func TestStopWhileBrokerIsAway(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	b, js := bedWith(t, outboxtest.New(t), time.Hour), natstest.Connect(t, s.URL())
	stop := b.run(toOrders(js))
	b.publish(many(3, 1)...)
	b.caughtUp(forwarderName)
	s.Stop()
	b.publish(many(3, 2)...)
	eventually(t, "the forwarder says that it fails", func() bool {
		var sent int
		err := b.pool.QueryRow(t.Context(), `SELECT sent FROM public.strunk_forwarders WHERE name = $1
			AND failing_since IS NOT NULL AND last_error <> ''`, forwarderName).Scan(&sent)
		return err == nil && sent == 3
	})
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(soon):
		t.Errorf("Run has not ended within %v", soon)
		s.Start()
	}
	var cursor, deliveries int
	if err := b.pool.QueryRow(t.Context(), `SELECT cursor, deliveries FROM public.strunk_subscriber_lag WHERE name
		= $1`, forwarderName).Scan(&cursor, &deliveries); err != nil || cursor != 3 || deliveries != 0 {
		t.Errorf("cursor %d, %d deliveries, %v; want 3 and none", cursor, deliveries, err)
	}
}

// childForwarder forwards until it has seen as many acknowledgements as it is told; then it kills
// itself, before the cursor is written.
func childForwarder() {
	var last int
	fmt.Sscan(os.Getenv("ACKS"), &last)
	pool, err := pgxpool.New(context.Background(), os.Getenv("DSN"))
	must(err)
	nc, err := nats.Connect(os.Getenv("NATS"))
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	runUntilKilled(pool, &counting{JetStream: js, left: last})
}

func TestKilledBetweenAckAndCursor(t *testing.T) {
	t.Parallel()
	const entities, versions = 30, 4
	s := natstest.Start(t)
	b, js := newBed(t), natstest.Connect(t, s.URL())
	for v := 1; v <= versions; v++ {
		b.publish(many(entities, v)...)
	}
	for _, acks := range []int{1, 25, 70} {
		killed(t, outboxtest.DSN(b.pool), s.URL(), acks)
	}
	b.run(toOrders(js))
	b.caughtUp(forwarderName)
	all := messages(t, js, "ORDERS")
	everyVersion(t, all, entities, versions)
	if len(all) != entities*versions {
		t.Errorf("%d messages for %d events: repeats were not dropped", len(all), entities*versions)
	}
}

// A purged stream is filled again by a replay, also while JetStream still remembers the message ids.
func TestPurgedStreamIsReplayed(t *testing.T) {
	t.Parallel()
	b, js := newBed(t), natstest.Connect(t, natstest.Start(t).URL())
	b.run(toOrders(js))
	b.publish(many(20, 1)...)
	b.publish(many(20, 2)...)
	b.caughtUp(forwarderName)
	stream, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := events.Replay(t.Context(), b.box, forwarderName, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "40 messages are there again", func() bool { return len(messages(t, js, "ORDERS")) >= 40 })
	b.caughtUp(forwarderName)
	everyVersion(t, messages(t, js, "ORDERS"), 20, 2)
}

// A database that went back to an earlier state gives versions again, to other events: none of them
// is taken for a repeat.
func TestDatabaseWentBack(t *testing.T) {
	t.Parallel()
	b, js := newBed(t), natstest.Connect(t, natstest.Start(t).URL())
	sent := func(b *bed, states ...order) {
		stop := b.run(toOrders(js))
		b.publish(states...)
		b.caughtUp(forwarderName)
		stop()
	}
	sent(b, order{ID: "a", N: 1}, order{ID: "a", N: 2})
	restored := bedOn(t, copied(t, b.pool))
	sent(b, order{ID: "a", N: 3}, order{ID: "a", N: 4})
	sent(restored, order{ID: "a", N: 30}, order{ID: "a", N: 40}, order{ID: "a", N: 50})
	if got := history(messages(t, js, "ORDERS"))["a"]; got != "1 2 3 4 3 4 5" {
		t.Errorf("versions %s", got)
	}
}

// copied is a copy of a database as it is now.
func copied(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	pool.Reset()
	cfg := pool.Config().Copy()
	name := cfg.ConnConfig.Database
	admin := cfg.ConnConfig.Copy()
	admin.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	eventually(t, "nobody is connected to the original", func() bool {
		_, err = conn.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{name +
			"_copy"}.Sanitize()+" TEMPLATE "+pgx.Identifier{name}.Sanitize())
		return err == nil
	})
	cfg.ConnConfig.Database = name + "_copy"
	copied, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(copied.Close)
	return copied
}

// While events are sent the leader of the stream steps down, and the next one is killed. The test is
// not parallel: three servers at once leave the others little.
func TestClusterLosesItsLeader(t *testing.T) {
	const entities, versions = 30, 20
	servers, urls := natstest.Cluster(t)
	b, js := newBed(t), natstest.Connect(t, urls)
	b.run(strunkjs.Forward(orders, js, strunkjs.Config{Stream: "ORDERS", AckTimeout: 2 * time.Second,
		Create: &jetstream.StreamConfig{Replicas: 3, Storage: jetstream.FileStorage}}))
	for v := 1; v <= versions; v++ {
		b.publish(many(entities, v)...)
		if v == 1 {
			b.caughtUp(forwarderName)
		}
		if v == versions/4 {
			answered(t, "the leader steps down", func(ctx context.Context) error {
				_, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN.ORDERS", nil)
				return err
			})
		}
		if v == versions/2 {
			for _, s := range servers {
				if s.LeadsStream("ORDERS") {
					s.Stop()
				}
			}
		}
	}
	b.caughtUp(forwarderName)
	everyVersion(t, messages(t, js, "ORDERS"), entities, versions)
}
