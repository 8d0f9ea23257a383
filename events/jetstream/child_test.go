package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
)

func must(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// killed runs a forwarder that kills itself after acknowledgements, before its cursor is written.
func killed(t *testing.T, dsn, natsURL string, acks int) {
	t.Helper()
	child := faults.Spawn(t, "forwarder", "DSN="+dsn, "NATS="+natsURL, fmt.Sprint("ACKS=", acks))
	child.Await(t, "acknowledged", soon)
	child.Kill()
}

func runUntilKilled(pool *pgxpool.Pool, js jetstream.JetStream) {
	box, err := outbox.Open(context.Background(), pool, outbox.Config{})
	must(err)
	must(box.Run(context.Background(), toOrders(js)))
}

// counting is a JetStream whose acknowledgements, after some, reach nobody any more.
type counting struct {
	jetstream.JetStream
	left  int
	acked atomic.Int64
}

func (c *counting) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	future, err := c.JetStream.PublishMsgAsync(m, opts...)
	if err != nil {
		return nil, err
	}
	passed := &counted{PubAckFuture: future, ok: make(chan *jetstream.PubAck, 1)}
	go func() {
		ack := <-future.Ok()
		switch n := c.acked.Add(1); {
		case n < int64(c.left):
			passed.ok <- ack
		case n == int64(c.left):
			fmt.Println("acknowledged")
		}
	}()
	return passed, nil
}

type counted struct {
	jetstream.PubAckFuture
	ok chan *jetstream.PubAck
}

func (c *counted) Ok() <-chan *jetstream.PubAck { return c.ok }
