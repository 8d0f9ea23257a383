package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
)

const (
	// noTimeout is the timeout of the subscriber: a message that the other side does not take now
	// is sent again until it does.
	noTimeout = 20 * 24 * time.Hour
	// checkTimeout bounds one check of the destination.
	checkTimeout = 15 * time.Second
	// slowAck is how long a message may be under way before the forwarder says that its destination takes nothing. A
	// stop waits no longer for it.
	slowAck = 5 * time.Second
	// warnInterval is how often a destination that does not answer is logged.
	warnInterval = 30 * time.Second
)

// binding is one Run of a forwarder: the subscriber, and what its handler needs to know of the Run.
type binding struct {
	core.Binding // the subscriber's
	f            *Forwarder
	soft         context.Context
	kill         context.CancelFunc // ends the handlers of this binding alone
	logger       *slog.Logger
	warnings     core.Throttle
	note         *core.ForwarderNote
}

func newBinding(f *Forwarder) *binding {
	b := &binding{f: f, soft: context.Background(), note: &core.ForwarderNote{Kind: "events", Name: f.name,
		Destination: destination(f.sink)}}
	if d, ok := f.sink.(Backlog); ok {
		b.note.Waiting = func(ctx context.Context) (int64, time.Duration, error) {
			return d.Waiting(ctx, f.stream.EntityType())
		}
	}
	opts := append(f.opts.subscribe[:len(f.opts.subscribe):len(f.opts.subscribe)],
		events.Concurrency(min(lanes, max(f.opts.inFlight, 1))), events.BatchSize(max(f.opts.inFlight/lanes, 1)),
		events.OnFailure(events.Park), events.Timeout(noTimeout))
	b.Binding = f.stream.BatchSubscriber(f.name, b.handle, opts...).Binding(core.Seal{})
	return b
}

// PreviousNames implements core.Renamed.
func (b *binding) PreviousNames() (kind, name string, previous []string) {
	if r, ok := b.Binding.(core.Renamed); ok {
		return r.PreviousNames()
	}
	return "entity type", b.f.stream.EntityType(), nil
}

// Prepare implements core.Binding.
func (b *binding) Prepare(host core.Host) (problems []error) {
	for _, err := range b.f.opts.problems() {
		problems = append(problems, b.f.problem(err))
	}
	if b.f.sink == nil {
		problems = append(problems, b.f.problem(errors.New("the sink is nil")))
	}
	return append(problems, b.Binding.Prepare(host)...)
}

// Run implements core.Binding: it checks the destination, then it is the subscriber.
func (b *binding) Run(life core.Life, rt core.Runtime) error {
	hard, kill := context.WithCancel(life.Hard)
	defer kill()
	b.soft, b.kill, b.logger = life.Soft, kill, rt.Logger().With("forwarder", b.f.name)
	var side sync.WaitGroup
	soft, stop := context.WithCancel(life.Soft)
	side.Go(func() { b.note.Keep(core.Life{Soft: soft, Hard: life.Hard, End: life.End}, rt) })
	defer side.Wait()
	defer stop()
	if err := b.check(); err != nil || life.Soft.Err() != nil {
		return err
	}
	return b.Binding.Run(core.Life{Soft: life.Soft, Hard: hard, End: life.End}, rt)
}

// check waits until the destination can be used. It returns an error where a person must act.
func (b *binding) check() error {
	for pause := b.f.opts.first; b.soft.Err() == nil; pause = min(2*pause, b.f.opts.most) {
		ctx, cancel := context.WithTimeout(b.soft, checkTimeout)
		err := b.f.sink.Check(ctx, b.f.stream.EntityType())
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrUnusable):
			return fmt.Errorf("strunk/events/forward: forwarder %q: %w", b.f.name, err)
		case b.soft.Err() == nil:
			b.warn("the destination cannot be checked; trying again", err)
		}
		core.Sleep(b.soft, pause)
	}
	return nil
}

// handle implements events.BatchHandler. Messages of different entities are under way together. A
// message waits until the one before it of its entity has arrived, so that no failure changes their
// order.
func (b *binding) handle(ctx context.Context, batch []events.Event[json.RawMessage]) error {
	under := make(map[string]*sending, len(batch))
	all := make([]*sending, len(batch))
	for i := range batch {
		if before := under[batch[i].EntityID]; before != nil {
			if err := b.arrive(ctx, before); err != nil {
				return err
			}
		}
		all[i] = b.send(ctx, b.f.opts.message(&batch[i]))
		under[batch[i].EntityID] = all[i]
	}
	for _, s := range all {
		if err := b.arrive(ctx, s); err != nil {
			return err
		}
	}
	b.note.Sent(len(batch))
	return nil
}

// sending is one message under way.
type sending struct {
	m       *Message
	ack     Ack
	arrived bool
}

func (b *binding) send(ctx context.Context, m *Message) *sending {
	return &sending{m: m, ack: b.f.sink.Send(ctx, m)}
}

// arrive returns when the other side has the message. It sends the message again for as long as it
// takes, unless it is refused.
func (b *binding) arrive(ctx context.Context, s *sending) error {
	for pause := b.f.opts.first; !s.arrived; pause = min(2*pause, b.f.opts.most) {
		err := b.await(ctx, s.ack)
		switch {
		case err == nil:
			s.arrived = true
			return nil
		case errors.Is(err, ErrRefused):
			return refusal{fmt.Errorf("strunk/events/forward: message %s: %w", s.m.ID, err)}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		b.warn("a message did not arrive; it is sent again until it does", err)
		if !b.pause(ctx, pause) {
			return context.Cause(ctx)
		}
		s.ack = b.f.sink.Send(ctx, s.m)
	}
	return nil
}

var errSlow = fmt.Errorf("no answer for %v", slowAck)

// await waits for an answer, and says so where that takes long. A sink may well wait for as long as its destination is
// away: it ends then at a shutdown, as pause does.
func (b *binding) await(ctx context.Context, ack Ack) error {
	answered := make(chan struct{})
	defer close(answered)
	slow := time.AfterFunc(slowAck, func() {
		b.warn("a message has not arrived yet", errSlow)
		select {
		case <-answered:
		case <-b.soft.Done():
			b.kill()
		}
	})
	defer slow.Stop()
	return ack(ctx)
}

// pause waits before a message is sent again, and reports false when it must not be. At a shutdown nothing waits for a
// destination that does not answer: what has not arrived is sent by the next owner.
func (b *binding) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.soft.Done():
		b.kill()
		<-ctx.Done()
	case <-ctx.Done():
	}
	return false
}

func (b *binding) warn(what string, err error) {
	b.note.Failed(err)
	if suppressed, due := b.warnings.Next(time.Now(), warnInterval); due {
		b.logger.Warn("strunk: "+what, "error", core.ErrorText(err), "more_since_last", suppressed)
	}
}
