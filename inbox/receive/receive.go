// Package receive takes messages in from another system: it makes each a task of a queue, exactly once, and only then
// acknowledges it.
//
// The task and the inbox mark (package inbox) of a batch of messages are committed in one
// transaction. A message that is delivered again finds its mark and makes no second task. From
// there on everything is as for any task: the handler of a queue.WorkerInTx commits its effects,
// follow-up tasks and events together, failures are retried by the queue's policy, and a message
// that cannot be decoded or keeps failing is a dead letter that can be listed and retried.
//
// Packages inbox/jetstream and inbox/kafka hold the sources for NATS JetStream and Kafka, in modules of their own.
package receive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// ErrInvalid says that an argument cannot be used; nothing was started.
var ErrInvalid = errors.New("invalid argument")

// Pauses after an error.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Source is where messages come from. One goroutine at a time uses it.
type Source interface {
	// Fetch returns the next messages, oldest first. It waits until there are some, or ctx ends. An
	// empty batch is allowed.
	Fetch(ctx context.Context) (Batch, error)
}

// Batch is what was fetched together.
type Batch struct {
	Messages []Message
	// Ack is called when the tasks of all messages are committed.
	Ack func(ctx context.Context) error
	// Return is called instead where they could not be: the messages are to be delivered again.
	Return func(ctx context.Context)
}

// Receiver makes tasks of a source's messages. It is an outbox.Binding: hand it to outbox.Box.Run.
type Receiver struct {
	bound
	queue  *queue.Queue[json.RawMessage]
	name   string
	source Source
	opts   options
}

type bound = core.Bound

// Into makes a receiver. The name is the consumer's in the inbox: under it messages are recognised. It starts nothing.
func Into[T any](q *queue.Queue[T], name string, source Source, opts ...Option) *Receiver {
	r := &Receiver{queue: q.Raw(), name: name, source: source, opts: newOptions(opts)}
	r.bound = core.NewBound(func() core.Binding { return &binding{r} })
	return r
}

// Option changes a receiver.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	enqueue func(Message) []queue.EnqueueOption
}

func newOptions(opts []Option) (o options) {
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&o)
		}
	}
	return o
}

// Enqueue chooses options for the task of a message: queue.CustomerKey(m.Key), for example, so that
// a queue with the limit FIFO handles the messages of an entity in order.
func Enqueue(choose func(Message) []queue.EnqueueOption) Option {
	return option(func(o *options) { o.enqueue = choose })
}

type binding struct{ *Receiver }

// Describe implements core.Binding.
func (b *binding) Describe() (kind, name string) { return "receiver", b.name }

// Prepare implements core.Binding.
func (b *binding) Prepare(core.Host) (problems []error) {
	if err := core.CheckName(b.name); err != nil {
		problems = append(problems, fmt.Errorf("strunk/inbox/receive: receiver %q: the name %w: %w", b.name, err,
			ErrInvalid))
	}
	if b.source == nil {
		problems = append(problems, fmt.Errorf("strunk/inbox/receive: receiver %q: the source is nil: %w", b.name,
			ErrInvalid))
	}
	return problems
}

// Run implements core.Binding.
func (b *binding) Run(life core.Life, rt core.Runtime) error {
	box, logger := rt.Box().(*outbox.Box), rt.Logger().With("receiver", b.name)
	for pause := firstPause; life.Soft.Err() == nil; {
		err := b.next(life, box)
		if err == nil {
			pause = firstPause
			continue
		}
		if life.Soft.Err() == nil {
			logger.Warn("strunk: messages could not be taken in; trying again", slog.Any("error", err))
		}
		core.Sleep(life.Soft, pause)
		pause = min(2*pause, maxPause)
	}
	return nil
}

// next takes one batch in. What was fetched is finished after the soft end, too.
func (b *binding) next(life core.Life, box *outbox.Box) error {
	batch, err := b.source.Fetch(life.Soft)
	if err != nil {
		return err
	}
	if len(batch.Messages) > 0 {
		err = box.InTx(life.Hard, func(tx *outbox.OwnedTx) error { return b.enqueue(life.Hard, tx, batch.Messages) })
	}
	if err != nil {
		batch.Return(life.Hard)
		return err
	}
	return batch.Ack(life.Hard)
}

func (b *binding) enqueue(ctx context.Context, tx *outbox.OwnedTx, messages []Message) error {
	for _, m := range messages {
		_, err := inbox.Once(ctx, tx, b.name, m.markID(), func(ctx context.Context) error {
			opts := []queue.EnqueueOption{queue.Metadata(m.metadata())}
			if b.opts.enqueue != nil {
				opts = append(opts, b.opts.enqueue(m)...)
			}
			_, err := b.queue.Enqueue(ctx, tx, m.payload(), opts...)
			return err
		})
		if err != nil {
			return fmt.Errorf("strunk/inbox/receive: message %s: %w", m.ID, err)
		}
	}
	return nil
}
