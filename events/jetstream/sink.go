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
	if most := s.largest(); sizeBound(msg) > most { // Size takes longer: it looks at each byte of the headers
		if size := int64(msg.Size()); size > most {
			return failed(forward.Refused("it has %d bytes with its headers, and stream %q takes %d: raise "+
				"max_payload of the server and "+
				"max_msg_size of the stream, then retry the parked entity", size, s.cfg.Stream, most))
		}
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
	select { // most have been acknowledged while others were awaited, and need no timer
	case ack := <-future.Ok():
		return s.acknowledged(ctx, future, ack)
	default:
	}
	timer := time.NewTimer(s.cfg.AckTimeout)
	defer timer.Stop()
	select {
	case ack := <-future.Ok():
		return s.acknowledged(ctx, future, ack)
	case err := <-future.Err():
		return s.explain(err)
	case <-timer.C:
		return s.explain(fmt.Errorf("no acknowledgement within %v", s.cfg.AckTimeout))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *sink) acknowledged(ctx context.Context, future jetstream.PubAckFuture, ack *jetstream.PubAck) error {
	if ack.Duplicate {
		return s.again(ctx, future.Msg(), ack.Sequence)
	}
	return nil
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
	subject := Subject(s.cfg.SubjectPrefix, m.EntityType, m.EntityID)
	if s.cfg.Structured {
		return &nats.Msg{Subject: subject, Data: m.Structured(), Header: nats.Header{nats.MsgIdHdr: {m.ID},
			"content-type": {forward.StructuredType}}}
	}
	attributes := m.Attributes()
	values := make([]string, 0, len(attributes)+3) // one array for all headers
	msg := &nats.Msg{Subject: subject, Header: make(nats.Header, cap(values))}
	set := func(name, value string) {
		values = append(values, value)
		msg.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(nats.MsgIdHdr, m.ID)
	for _, a := range attributes {
		set("ce-"+a.Name, forward.EscapeHeader(a.Value))
	}
	if !m.Deleted() {
		set("content-type", forward.ContentType)
		msg.Data = m.Data
	}
	return msg
}

// sizeBound is at least msg.Size, of a message without a reply subject.
func sizeBound(msg *nats.Msg) int64 {
	const perHeader, perMessage = len(": \r\n"), len("NATS/1.0\r\n\r\n")
	size := len(msg.Subject) + len(msg.Data) + perMessage
	for name, values := range msg.Header {
		for _, value := range values {
			size += len(name) + len(value) + perHeader
		}
	}
	return int64(size)
}
