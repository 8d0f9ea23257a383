package jetstream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
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
