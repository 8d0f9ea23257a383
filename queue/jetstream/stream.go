package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/natsname"
)

const (
	// checkTimeout bounds one look at the stream.
	checkTimeout = 15 * time.Second
	// Pauses after a failure.
	firstPause, maxPause = 50 * time.Millisecond, 5 * time.Second
	// smallestMessage is the least that a stream must take: a task's header and a reason to come back.
	smallestMessage = 16 << 10
)

// opened waits until the stream can be used. It returns an error where a person must act, and
// neither stream nor error at the end of ctx.
func (c Config) opened(ctx context.Context, js jetstream.JetStream, warn func(error),
	subjects ...string) (jetstream.Stream, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		stream, err := c.open(ctx, js, subjects)
		switch {
		case err == nil:
			return stream, nil
		case errors.Is(err, ErrUnusable):
			return nil, fmt.Errorf("strunk/queue/jetstream: %w", err)
		case ctx.Err() != nil:
			return nil, nil
		}
		warn(err)
		core.Sleep(ctx, pause)
	}
}

// open looks at the stream, and makes it where that was asked for.
func (c Config) open(ctx context.Context, js jetstream.JetStream, subjects []string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = c.create(ctx, js)
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, unusable("the server has no JetStream for this account: %w", err)
	case err != nil:
		return nil, fmt.Errorf("stream %q: %w", c.Stream, err)
	}
	if problems := streamProblems(stream.CachedInfo().Config, subjects); len(problems) > 0 {
		return nil, unusable("stream %q: %w", c.Stream, errors.Join(problems...))
	}
	return stream, nil
}

func (c Config) create(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	if c.Create == nil {
		return nil, unusable("there is no stream %q: make it as a work queue for the subjects %s.>, or set "+
			"Config.Create", c.Stream, c.Prefix)
	}
	cfg := *c.Create
	cfg.Name, cfg.Retention, cfg.Discard = c.Stream, jetstream.WorkQueuePolicy, jetstream.DiscardNew
	if len(cfg.Subjects) == 0 {
		cfg.Subjects = []string{c.Prefix + ".>"}
	}
	stream, err := js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process has made it meanwhile
		return js.Stream(ctx, c.Stream)
	}
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.Code == 400 {
		return nil, unusable("it cannot be made: %w", err)
	}
	return stream, err
}

// streamProblems lists why a stream cannot hold tasks.
func streamProblems(cfg jetstream.StreamConfig, subjects []string) (problems []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	check(cfg.Retention == jetstream.WorkQueuePolicy, "its retention is %v: a task must be there until a worker has "+
		"acknowledged it, so make it %v", cfg.Retention, jetstream.WorkQueuePolicy)
	check(cfg.MaxAge == 0, "its max_age is %v, after which tasks would be lost: set it to 0", cfg.MaxAge)
	bounded := cfg.MaxMsgs > 0 || cfg.MaxBytes > 0 || cfg.MaxMsgsPerSubject > 0
	check(!bounded || cfg.Discard == jetstream.DiscardNew, "it drops the oldest tasks when it is full: set "+
		"discard to new")
	check(cfg.MaxMsgsPerSubject <= 0 || cfg.DiscardNewPerSubject, "its max_msgs_per_subject drops tasks: set it to -1")
	check(!cfg.NoAck, "it acknowledges nothing (no_ack)")
	check(!cfg.Sealed, "it is sealed")
	check(cfg.Mirror == nil, "it is a mirror: send to its origin")
	check(cfg.MaxMsgSize <= 0 || cfg.MaxMsgSize >= smallestMessage, "its max_msg_size is %d bytes: allow at least %d",
		cfg.MaxMsgSize, smallestMessage)
	for _, subject := range subjects {
		check(slices.ContainsFunc(cfg.Subjects, func(of string) bool { return natsname.Covers(of, subject) }),
			"its subjects %v do not hold %s: add it", cfg.Subjects, subject)
	}
	return problems
}
