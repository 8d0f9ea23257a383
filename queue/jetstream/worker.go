package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/natsname"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/queue"
)

// TaskWorker runs the handler of one queue for the tasks of a stream. Make it with [Worker].
type TaskWorker struct {
	remote   queuelink.Remote
	js       jetstream.JetStream
	cfg      Config
	problems []error
}

// Worker makes a worker of a queue's tasks in a stream. It needs no database: any number of
// processes may run it. The handler is the one of queue.Queue.Worker, with the queue's middleware
// (Config.Middleware stands in the place of the box's), retry policy, attempts and time-outs.
// queue.VisibilityTimeout is the consumer's ack wait: a worker that is not heard of for so long has
// its tasks given to others, and the attempt counts. All workers of a queue should agree on it.
//
// What needs the database is refused by Run, with the reason: the options Inbox, Isolation and
// PollInterval, Limits, results. There is no handler in a transaction, and queue.Report returns
// queue.ErrNoDatabase.
func Worker[T any](q *queue.Queue[T], js jetstream.JetStream, handler queue.Handler[T], cfg Config,
	opts ...queue.WorkerOption) *TaskWorker {
	w := &TaskWorker{js: js, cfg: cfg.withDefaults()}
	extensions := make([]any, len(cfg.Middleware))
	for i, m := range cfg.Middleware {
		extensions[i] = m
	}
	w.remote, w.problems = queuelink.NewRemote(q.Worker(handler, opts...).Binding(core.Seal{}), extensions,
		w.cfg.Logger)
	if js == nil {
		w.problems = append(w.problems, fmt.Errorf("strunk/queue/jetstream: worker %q: the JetStream context is nil: "+
			"%w", q.Name(), ErrInvalid))
	}
	return w
}

// Run works until ctx ends, and then until the handlers that are running have returned, at most for
// Config.Grace; what is left goes back to the stream, its attempts not spent. It returns an error for
// what a restart cannot mend: [queue.ErrInvalid], [ErrInvalid], [ErrUnusable].
func (w *TaskWorker) Run(ctx context.Context) error {
	if err := errors.Join(w.problems...); err != nil {
		return err
	}
	logger := w.cfg.Logger.With("queue", w.remote.Queue(), "stream", w.cfg.Stream)
	subject := Subject(w.cfg.Prefix, w.remote.Queue())
	publisher := &publisher{js: w.js, cfg: w.cfg, logger: logger}
	stream, err := w.cfg.opened(ctx, w.js, publisher.warn, subject)
	if err != nil || stream == nil {
		return err
	}
	s := &session{remote: w.remote, cfg: w.cfg, soft: ctx, logger: logger, publisher: publisher,
		pull: &puller{js: w.js, stream: w.cfg.Stream, logger: logger, consumer: w.consumer(subject)}}
	s.run()
	_ = w.js.Conn().FlushTimeout(time.Second) // acknowledgements that are lost cost another run
	return nil
}

func (w *TaskWorker) consumer(subject string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: "strunk-" + natsname.Token(w.remote.Queue()), FilterSubject: subject,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: w.remote.Lease(), MaxDeliver: -1,
		MaxAckPending: -1} // tasks that wait for their next attempt are pending, too
}
