package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/internal/natsname"
)

// smallestMessage is the least that a stream must take: below it hardly an event's headers fit.
const smallestMessage = 1024

// Check implements forward.Sink.
func (s *sink) Check(ctx context.Context, entityType string) error {
	if s.js == nil {
		return forward.Unusable("the JetStream context is nil")
	}
	if s.cfg.Stream == "" {
		return forward.Unusable("Config.Stream is empty")
	}
	subjects := s.cfg.SubjectPrefix + "." + natsname.Token(entityType) + ".>"
	stream, err := s.js.Stream(ctx, s.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.create(ctx, subjects)
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return forward.Unusable("the server has no JetStream for this account: %w", err)
	case errors.Is(err, forward.ErrUnusable):
		return err
	case err != nil:
		return s.explain(err)
	}
	cfg := stream.CachedInfo().Config
	s.max.Store(int64(cfg.MaxMsgSize))
	if problems := s.problems(cfg, subjects); len(problems) > 0 {
		return forward.Unusable("stream %q: %w", s.cfg.Stream, errors.Join(problems...))
	}
	return nil
}

func (s *sink) create(ctx context.Context, subjects string) (jetstream.Stream, error) {
	if s.cfg.Create == nil {
		return nil, forward.Unusable("there is no stream %q: make it for the subjects %s, or set Config.Create",
			s.cfg.Stream, subjects)
	}
	cfg := *s.cfg.Create
	cfg.Name = s.cfg.Stream
	if len(cfg.Subjects) == 0 {
		cfg.Subjects = []string{s.cfg.SubjectPrefix + ".>"}
	}
	stream, err := s.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process has made it meanwhile
		return s.js.Stream(ctx, s.cfg.Stream)
	}
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.Code == 400 {
		return nil, forward.Unusable("the stream %q cannot be made: %w", s.cfg.Stream, err)
	}
	return stream, err
}

// problems lists why a stream cannot hold events.
func (s *sink) problems(cfg jetstream.StreamConfig, subjects string) (problems []error) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if cfg.Retention != jetstream.LimitsPolicy {
		add("its retention is %v, which drops messages that a later consumer has not seen: use limits", cfg.Retention)
	}
	if cfg.NoAck {
		add("it acknowledges nothing (no_ack)")
	}
	if cfg.Sealed {
		add("it is sealed")
	}
	if cfg.AllowMsgCounter {
		add("it takes counters only (allow_msg_counter)")
	}
	if cfg.MaxMsgsPerSubject > 0 && cfg.Discard == jetstream.DiscardNew && cfg.DiscardNewPerSubject {
		add("it refuses the next version of an entity that has %d messages: set discard_new_per_subject to false",
			cfg.MaxMsgsPerSubject)
	}
	if cfg.Mirror != nil {
		add("it is a mirror of %q: send to that one", cfg.Mirror.Name)
	}
	if cfg.MaxMsgSize > 0 && cfg.MaxMsgSize < smallestMessage {
		add("its max_msg_size is %d bytes: allow at least %d", cfg.MaxMsgSize, smallestMessage)
	}
	if !slices.ContainsFunc(cfg.Subjects, func(of string) bool { return natsname.Covers(of, subjects) }) {
		add("its subjects %v do not hold %s: add it", cfg.Subjects, subjects)
	}
	return problems
}
