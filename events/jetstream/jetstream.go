// Package jetstream carries events from the database to a NATS JetStream stream.
//
//	js, err := jetstream.New(nc) // github.com/nats-io/nats.go/jetstream
//	err = box.Run(ctx, strunkjs.Forward(Orders, js, strunkjs.Config{Stream: "ORDERS"}))
//
// The forwarder is a subscriber (see package events/forward): a durable cursor, one owner at a
// time, failover, replay, pause and parked entities. The cursor moves when JetStream has
// acknowledged the messages. The events of an entity arrive in order, on a subject of its own. The
// message id (Nats-Msg-Id) of an event is always the same, so that JetStream drops a repeat within
// the stream's duplicate window; later repeats are recognised by the attribute version.
package jetstream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/internal/natsname"
)

const (
	// DefaultSubjectPrefix begins the subjects where Config.SubjectPrefix is empty.
	DefaultSubjectPrefix = "events"
	// DefaultAckTimeout is how long an acknowledgement may take where Config.AckTimeout is zero.
	DefaultAckTimeout = 5 * time.Second
)

// Config says how events become messages. Only Stream is required.
type Config struct {
	// Stream is the stream's name. It must keep its messages by limits (the default retention), and
	// take in the subjects.
	Stream string
	// Name is the subscriber's name, the forwarder's durable identity; empty means "jetstream:",
	// the stream, ":" and the entity type.
	Name string
	// SubjectPrefix begins the subjects; empty means [DefaultSubjectPrefix]. See [Subject].
	SubjectPrefix string
	// Structured sends each event as one JSON document that holds attributes and state. Otherwise (binary mode) the
	// attributes are headers, and the message is the state.
	Structured bool
	// Create makes the stream where it is not there yet. Its Name is set, and its Subjects where it has none.
	Create *jetstream.StreamConfig
	// AckTimeout is how long an acknowledgement may take before the message is sent again; zero
	// means [DefaultAckTimeout].
	AckTimeout time.Duration
}

// Forward makes a forwarder of a stream's events to JetStream. Several may share a JetStream stream.
func Forward[T any](stream *events.Stream[T], js jetstream.JetStream, cfg Config,
	opts ...forward.Option) *forward.Forwarder {
	if cfg.SubjectPrefix == "" {
		cfg.SubjectPrefix = DefaultSubjectPrefix
	}
	if cfg.AckTimeout <= 0 {
		cfg.AckTimeout = DefaultAckTimeout
	}
	if cfg.Name == "" {
		cfg.Name = "jetstream:" + cfg.Stream + ":" + stream.EntityType()
	}
	return forward.To(stream, cfg.Name, &sink{js: js, cfg: cfg}, opts...)
}

// Subject returns the subject of an entity's events: the prefix, the entity type and the entity id,
// with dots between. In type and id every byte other than letters, digits, "-" and "_" is escaped
// as %XX.
func Subject(prefix, entityType, entityID string) string {
	return prefix + "." + natsname.Token(entityType) + "." + natsname.Token(entityID)
}
