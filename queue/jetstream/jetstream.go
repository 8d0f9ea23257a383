// Package jetstream has the tasks of a queue worked beyond the database, by workers of a NATS JetStream stream.
//
//	js, err := jetstream.New(nc) // github.com/nats-io/nats.go/jetstream
//	// where the database is:
//	err = box.Run(ctx, strunkjs.ForwardTasks(Emails, js, strunkjs.Config{}))
//	// anywhere, in as many processes as wanted, without a database:
//	err = strunkjs.Worker(Emails, js, mailer.Send, strunkjs.Config{}, queue.Concurrency(50)).Run(ctx)
//
// Tasks are enqueued as ever, in the transaction of the business data. A forwarder hands those that
// are due to a work-queue stream, and completes them in the database when the stream has them.
// Workers run the same handlers, with the queue's middleware, retry policy, attempts and time-outs.
// A task that they give up comes back over the stream and is a dead letter in strunk_outbox; set
// back to pending there, it goes out again. Tasks are handled at least once.
package jetstream

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/natsname"
	"github.com/strunk-go/strunk/queue"
)

// Defaults of Config.
const (
	DefaultStream     = "TASKS"
	DefaultPrefix     = "tasks"
	DefaultDatabase   = "main"
	DefaultAckTimeout = 5 * time.Second
	DefaultGrace      = 25 * time.Second
)

// Config is given to forwarders and workers alike. Its zero value is usable.
type Config struct {
	// Stream is the stream's name; empty means [DefaultStream]. It must be a work queue
	// (jetstream.WorkQueuePolicy) that drops nothing by age or number, and hold the subjects. Several
	// queues may share it.
	Stream string
	// Prefix begins the subjects; empty means [DefaultPrefix]. See [Subject] and [ReturnSubject].
	Prefix string
	// Database tells the databases apart whose forwarders feed one stream; empty means
	// [DefaultDatabase]. Tasks that are given up return to the one that they came from.
	Database string
	// Create makes the stream where it is not there yet. What a task stream must have is set: Name,
	// Retention, Discard, and Subjects where it has none.
	Create *jetstream.StreamConfig
	// AckTimeout is how long an acknowledgement may take before a message is sent again; zero means
	// [DefaultAckTimeout].
	AckTimeout time.Duration
	// Middleware is around the handlers of a worker, outermost: that of the box where the tasks are
	// enqueued (outbox.Config.Extensions). A forwarder does not look at it.
	Middleware []queue.Middleware
	// Grace is how long a worker's handlers may go on after the end of its Run's context; zero means
	// [DefaultGrace].
	Grace time.Duration
	// Logger is a worker's; nil means slog.Default(). A forwarder has that of its box.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Stream, DefaultStream)
	set(&c.Prefix, DefaultPrefix)
	set(&c.Database, DefaultDatabase)
	if c.AckTimeout <= 0 {
		c.AckTimeout = DefaultAckTimeout
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Subject returns the subject of a queue's tasks: the prefix, "todo" and the queue's name, with dots
// between. In the name every byte other than letters, digits, "-" and "_" is escaped as %XX.
func Subject(prefix, queueName string) string { return prefix + ".todo." + natsname.Token(queueName) }

// ReturnSubject returns the subject of the tasks that come back to a database.
func ReturnSubject(prefix, database, queueName string) string {
	return prefix + ".returned." + natsname.Token(database) + "." + natsname.Token(queueName)
}
