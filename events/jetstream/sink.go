package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/forward"
)

// sink implements forward.Sink.
type sink struct {
	js  jetstream.JetStream
	cfg Config
	max atomic.Int64 // the stream's bound of a message in bytes; 0 is none
}

// Send implements forward.Sink.
func (s *sink) Send(ctx context.Context, m *forward.Message) forward.Ack {
	msg := s.message(m)
	if size, most := int64(msg.Size()), s.largest(); size > most {
		return failed(forward.Refused("it has %d bytes with its headers, and stream %q takes %d: raise "+
			"max_payload of the server and "+
			"max_msg_size of the stream, then retry the parked entity", size, s.cfg.Stream, most))
	}
	return s.publish(msg)
}

func (s *sink) publish(msg *nats.Msg) forward.Ack {
	future, err := s.js.PublishMsgAsync(msg, jetstream.WithExpectStream(s.cfg.Stream), jetstream.WithRetryAttempts(0))
	if err != nil {
		return failed(s.explain(err))
	}
	return func(ctx context.Context) error { return s.await(ctx, future) }
}

func failed(err error) forward.Ack { return func(context.Context) error { return err } }

// largest is the most bytes that a message may have.
func (s *sink) largest() int64 {
	most := s.js.Conn().MaxPayload()
	if most <= 0 {
		most = 1 << 20 // not connected yet: the server's default
	}
	if limit := s.max.Load(); limit > 0 {
		most = min(most, limit)
	}
	return most
}

func (s *sink) await(ctx context.Context, future jetstream.PubAckFuture) error {
	timer := time.NewTimer(s.cfg.AckTimeout)
	defer timer.Stop()
	select {
	case ack := <-future.Ok():
		if ack.Duplicate {
			return s.again(ctx, future.Msg(), ack.Sequence)
		}
		return nil
	case err := <-future.Err():
		return s.explain(err)
	case <-timer.C:
		return s.explain(fmt.Errorf("no acknowledgement within %v", s.cfg.AckTimeout))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// again settles a message that JetStream has dropped as a repeat. The message that it repeats may
// be gone by now: the stream was purged, for example, and the events are replayed. Then the message
// is sent without an id.
func (s *sink) again(ctx context.Context, sent *nats.Msg, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return s.explain(err)
	}
	_, err = stream.GetMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return s.explain(err)
	}
	msg := &nats.Msg{Subject: sent.Subject, Data: sent.Data, Header: maps.Clone(sent.Header)}
	msg.Header.Del(nats.MsgIdHdr)
	return s.publish(msg)(ctx)
}

// explain adds what a failure of JetStream's means here. Missing rights come as an error of the
// connection, not as an answer.
func (s *sink) explain(err error) error {
	err = fmt.Errorf("stream %q: %w", s.cfg.Stream, err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return forward.Refused("%w", err)
	case !s.js.Conn().IsConnected():
		return fmt.Errorf("%w (the connection is %v)", err, s.js.Conn().Status())
	}
	if last := s.js.Conn().LastError(); last != nil && strings.Contains(strings.ToLower(last.Error()),
		"permissions violation") {
		return fmt.Errorf("%w (%w)", err, last)
	}
	return err
}

// message is an event as the CloudEvents binding for NATS has it.
func (s *sink) message(m *forward.Message) *nats.Msg {
	msg := nats.NewMsg(Subject(s.cfg.SubjectPrefix, m.EntityType, m.EntityID))
	msg.Header.Set(nats.MsgIdHdr, m.ID)
	if s.cfg.Structured {
		msg.Header.Set("content-type", forward.StructuredType)
		msg.Data = m.Structured()
		return msg
	}
	for _, a := range m.Attributes() {
		msg.Header.Set("ce-"+a.Name, forward.EscapeHeader(a.Value))
	}
	if !m.Deleted() {
		msg.Header.Set("content-type", forward.ContentType)
		msg.Data = m.Data
	}
	return msg
}
