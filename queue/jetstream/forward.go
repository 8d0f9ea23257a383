package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	// batches and batchSize bound the tasks under way to the stream.
	batches, batchSize = 4, 500
	// reasonBytes is kept free in a message for what is said of a task that comes back.
	reasonBytes = 8 << 10
)

// Forwarder carries the tasks of one queue to a stream. It is an outbox.Binding: hand it to outbox.Box.Run, in as many
// processes as wanted.
type Forwarder struct {
	bound
	queue any // the *queue.Queue[T]
	name  string
	js    jetstream.JetStream
	cfg   Config
}

type bound = core.Bound

// ForwardTasks makes a forwarder of a queue's tasks. It claims them as a worker does, in batches,
// and completes them when the stream has them; it spends no attempt. It also takes back what the
// workers of [Worker] give up. A queue with Limits or results is refused by Run, with the reason:
// their workers need the database. A task that is too large for the stream becomes a dead letter.
func ForwardTasks[T any](q *queue.Queue[T], js jetstream.JetStream, cfg Config) *Forwarder {
	f := &Forwarder{queue: q, name: q.Name(), js: js, cfg: cfg.withDefaults()}
	f.bound = core.NewBound(func() core.Binding { return newBinding(f) })
	return f
}

// binding is one Run of a forwarder.
type binding struct {
	core.Binding // the worker that claims and completes
	f            *Forwarder
	soft         context.Context
	publisher    *publisher
	note         *core.ForwarderNote
	largest      atomic.Int64 // the most bytes of a message
}

func newBinding(f *Forwarder) *binding {
	b := &binding{f: f, soft: context.Background(), note: &core.ForwarderNote{Kind: "tasks", Name: f.name,
		Destination: "jetstream " + f.cfg.Stream, Waiting: f.waiting}}
	b.Binding = queuelink.Carrier(f.queue, b.send, batches, batchSize)
	return b
}

// PreviousNames implements core.Renamed.
func (b *binding) PreviousNames() (kind, name string, previous []string) {
	if r, ok := b.Binding.(core.Renamed); ok {
		return r.PreviousNames()
	}
	return "queue", b.f.name, nil
}

// Prepare implements core.Binding.
func (b *binding) Prepare(host core.Host) []error {
	problems := b.Binding.Prepare(host)
	if b.f.js == nil {
		problems = append(problems, fmt.Errorf("strunk/queue/jetstream: forwarder of %q: the JetStream context is "+
			"nil: %w", b.f.name, ErrInvalid))
	}
	return problems
}

// Run implements core.Binding: it checks the stream, and then is a worker that sends.
func (b *binding) Run(life core.Life, rt core.Runtime) error {
	cfg, logger := b.f.cfg, rt.Logger().With("queue", b.f.name, "stream", b.f.cfg.Stream)
	b.soft, b.publisher = life.Soft, &publisher{js: b.f.js, cfg: cfg, logger: logger, failed: b.note.Failed}
	var side sync.WaitGroup
	soft, stop := context.WithCancel(life.Soft)
	side.Go(func() { b.note.Keep(core.Life{Soft: soft, Hard: life.Hard, End: life.End}, rt) })
	defer side.Wait()
	defer stop()
	back := ReturnSubject(cfg.Prefix, cfg.Database, b.f.name)
	stream, err := cfg.opened(life.Soft, b.f.js, b.publisher.warn, Subject(cfg.Prefix, b.f.name), back)
	if err != nil || stream == nil {
		return err
	}
	b.largest.Store(b.publisher.largest(stream.CachedInfo().Config.MaxMsgSize))
	r := &returns{js: b.f.js, cfg: cfg, queue: b.f.name, subject: back, box: rt.Box().(*outbox.Box), logger: logger}
	side.Go(func() { r.run(core.Life{Soft: soft, Hard: life.Hard, End: life.End}) })
	return b.Binding.Run(life, rt)
}

// send implements queuelink.Send. At the soft end nothing waits for a stream that does not answer.
func (b *binding) send(ctx context.Context, tasks []queuelink.Carried) []error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(b.soft, func() { core.Sleep(ctx, b.f.cfg.AckTimeout); stop(queuelink.NotSent{}) })()
	sent := 0
	outcomes, under := make([]error, len(tasks)), make([]*sending, len(tasks))
	for i, task := range tasks {
		under[i], outcomes[i] = b.begin(task)
	}
	for i, s := range under {
		if s != nil {
			outcomes[i] = b.outcome(b.publisher.arrive(ctx, s), tasks[i])
		}
		if outcomes[i] == nil {
			sent++
		}
	}
	if sent > 0 {
		b.note.Sent(sent)
	}
	return outcomes
}

// waiting is what the stream's workers have not acknowledged yet, and how old the first of it is.
func (f *Forwarder) waiting(ctx context.Context) (messages int64, oldest time.Duration, err error) {
	stream, err := f.js.Stream(ctx, f.cfg.Stream)
	if err != nil {
		return 0, 0, err
	}
	subject := Subject(f.cfg.Prefix, f.name)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, 0, err
	}
	messages = int64(info.State.Subjects[subject])
	if first, err := stream.GetMsg(ctx, 0, jetstream.WithGetMsgSubject(subject)); err == nil && messages > 0 {
		oldest = max(time.Since(first.Time), 0)
	}
	return messages, oldest, nil
}

func (b *binding) begin(task queuelink.Carried) (*sending, error) {
	e := newEnvelope(b.f.cfg.Database, task)
	msg, err := e.message(Subject(b.f.cfg.Prefix, b.f.name), e.messageID(), task.Payload)
	if err != nil {
		return nil, refused{err}
	}
	if size := int64(msg.Size()) + reasonBytes; size > b.largest.Load() {
		return nil, refused{fmt.Errorf("%w: it needs %d bytes with its header and room for an error, and stream %q "+
			"takes %d: raise max_payload of the server and max_msg_size of the stream, then retry the dead letter",
			errTooLarge, size, b.f.cfg.Stream, b.largest.Load())}
	}
	return b.publisher.send(msg), nil
}

func (b *binding) outcome(err error, task queuelink.Carried) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return refused{fmt.Errorf("task %d: %w", task.ID, err)}
	}
	return queuelink.NotSent{}
}

// refused is the error of a task that the stream will never take: more attempts do not help.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// Is reports queue.ErrPoison.
func (r refused) Is(target error) bool {
	_, ok := target.(*core.Poison)
	return ok
}
