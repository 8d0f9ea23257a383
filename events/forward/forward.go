// Package forward carries events out of the database to another system: a broker, a webhook, anything that says when it
// has a message.
//
// A [Forwarder] is a subscriber like any other. It has a durable cursor, one owner at a time,
// failover, replay, pause and parked entities, and its lag stands in the statistics of the
// subscribers. Its handler gives each event as a CloudEvents 1.0 [Message] to a [Sink] and waits
// until the sink has it. Only then does the cursor move, so that nothing is lost; a repeat has the
// same message id, so that the other side can drop it.
//
// Packages events/jetstream and events/kafka hold the sinks for NATS JetStream and Kafka, in
// modules of their own. A sink of one's own is one method; see the example.
package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
)

// Sink is where messages go. Its methods are called from several goroutines.
type Sink interface {
	// Check is called before anything is sent. An error that is [ErrUnusable] ends Run; after any
	// other one Check is called again later.
	Check(ctx context.Context, entityType string) error
	// Send hands a message over and returns at once. Messages of one entity are sent one after the
	// other: the next when the Ack of the one before has returned nil.
	Send(ctx context.Context, m *Message) Ack
}

// Named is implemented by a [Sink] that says where messages go, for `strunk forwarders`.
type Named interface {
	Destination() string
}

// Backlog is implemented by a [Sink] that knows how far its slowest reader is behind: how many
// messages wait there, and how old the first is (0 where that is not known).
type Backlog interface {
	Waiting(ctx context.Context, entityType string) (messages int64, oldest time.Duration, err error)
}

func destination(sink Sink) string {
	if n, ok := sink.(Named); ok {
		return n.Destination()
	}
	return fmt.Sprintf("%T", sink)
}

// Ack waits until the other side has a message, and returns nil then. An error that is [ErrRefused] parks the message's
// entity. After any other one the message is sent again, until it succeeds.
type Ack func(ctx context.Context) error

// Func is a [Sink] that needs no check: it sends one message and returns when the other side has it. Several calls run
// side by side, each for another entity.
type Func func(ctx context.Context, m *Message) error

// Check implements Sink.
func (f Func) Check(context.Context, string) error { return nil }

// Send implements Sink.
func (f Func) Send(ctx context.Context, m *Message) Ack {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- &events.PanicError{Value: p}
			}
		}()
		done <- f(ctx, m)
	}()
	return Await(done)
}

// Await is the [Ack] of a message whose outcome is sent on a channel.
func Await(done <-chan error) Ack {
	return func(ctx context.Context) error {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Forwarder carries the events of one stream to a [Sink]. It is an outbox.Binding: hand it to outbox.Box.Run.
type Forwarder struct {
	bound
	stream *events.Stream[json.RawMessage]
	name   string
	sink   Sink
	opts   options
}

type bound = core.Bound

// To makes a forwarder. The name is the subscriber's: its durable identity. It starts nothing.
func To[T any](stream *events.Stream[T], name string, sink Sink, opts ...Option) *Forwarder {
	f := &Forwarder{stream: stream.Raw(), name: name, sink: sink, opts: newOptions(opts)}
	f.bound = core.NewBound(func() core.Binding { return newBinding(f) })
	return f
}

// Name returns the name of the subscriber.
func (f *Forwarder) Name() string { return f.name }

func (f *Forwarder) problem(err error) error {
	return fmt.Errorf("strunk/events/forward: forwarder %q: %w: %w", f.name, err, events.ErrInvalid)
}
