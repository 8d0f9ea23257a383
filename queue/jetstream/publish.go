package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/core"
)

// warnInterval is how often a stream that does not answer is logged.
const warnInterval = 30 * time.Second

// publisher sends messages until the stream has them.
type publisher struct {
	js       jetstream.JetStream
	cfg      Config
	logger   *slog.Logger
	failed   func(error) // is called with each failure; nil for none
	warnings core.Throttle
}

// sending is one message under way.
type sending struct {
	msg    *nats.Msg
	future jetstream.PubAckFuture
	err    error // of the send itself
	again  bool  // it was sent before
}

func (p *publisher) send(msg *nats.Msg) *sending {
	s := &sending{msg: msg}
	s.future, s.err = p.js.PublishMsgAsync(msg, jetstream.WithExpectStream(p.cfg.Stream),
		jetstream.WithRetryAttempts(0))
	return s
}

// errTooLarge says that the stream will never take a message.
var errTooLarge = errors.New("the message is too large for the stream")

// arrive returns nil when the stream has the message, however often it must be sent. It returns
// [errTooLarge], or why ctx ended.
func (p *publisher) arrive(ctx context.Context, s *sending) error {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		ack, err := p.await(ctx, s)
		switch {
		case err == nil && ack.Duplicate && !s.again:
			err = p.stillThere(ctx, s.msg, ack.Sequence)
		case err == nil:
			return nil
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
			return fmt.Errorf("%w: %w", errTooLarge, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errHandled):
			s.msg = withoutID(s.msg)
		default:
			p.warn(err)
			core.Sleep(ctx, pause)
		}
		next := p.send(s.msg)
		s.future, s.err, s.again = next.future, next.err, true
	}
}

func (p *publisher) await(ctx context.Context, s *sending) (*jetstream.PubAck, error) {
	if s.err != nil {
		return nil, s.err
	}
	timer := time.NewTimer(p.cfg.AckTimeout)
	defer timer.Stop()
	select {
	case ack := <-s.future.Ok():
		return ack, nil
	case err := <-s.future.Err():
		return nil, err
	case <-timer.C:
		return nil, fmt.Errorf("no acknowledgement within %v", p.cfg.AckTimeout)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// errHandled says that the message which another one repeats is no longer in the stream.
var errHandled = errors.New("the message was handled")

// stillThere settles a first send that the stream dropped as a repeat. Where the message that it
// repeats is gone, the task may have been handled, or the stream was purged, or it was retried by
// hand: nobody knows, so it is sent.
func (p *publisher) stillThere(ctx context.Context, msg *nats.Msg, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckTimeout)
	defer cancel()
	stream, err := p.js.Stream(ctx, p.cfg.Stream)
	if err != nil {
		return err
	}
	_, err = stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return errHandled
	}
	return err
}

func withoutID(msg *nats.Msg) *nats.Msg {
	plain := &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: maps.Clone(msg.Header)}
	plain.Header.Del(nats.MsgIdHdr)
	return plain
}

func (p *publisher) warn(err error) {
	if p.failed != nil {
		p.failed(err)
	}
	if suppressed, due := p.warnings.Next(time.Now(), warnInterval); due {
		p.logger.Warn("strunk: the stream of tasks does not take messages; trying again until it does",
			"stream", p.cfg.Stream, "error", err, "more_since_last", suppressed)
	}
}

// largest is the most bytes that a message may have.
func (p *publisher) largest(limit int32) int64 {
	most := p.js.Conn().MaxPayload()
	if most <= 0 {
		most = 1 << 20 // not connected yet: the server's default
	}
	if limit > 0 {
		most = min(most, int64(limit))
	}
	return most
}
