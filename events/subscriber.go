package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// firstPause is the first wait after an error; it doubles up to the poll interval.
const firstPause = 10 * time.Millisecond

// topicSubscriber is announced when something is to be noticed about a subscriber: a rewind, a pause, a delivery that
// is due, a skip, an owner that left.
func topicSubscriber(name string) string { return "s:" + name }

// subscriber is a Subscriber without its type.
type subscriber struct {
	def  *definition
	name string
	work work
	opts subscribeOptions
}

func newSubscriber(def *definition, name string, w work, opts []SubscribeOption) *subscriber {
	s := &subscriber{def: def, name: name, work: w, opts: newSubscribeOptions(opts)}
	if w.inTx {
		s.opts.concurrency = 1
	}
	return s
}

// Describe implements core.Binding.
func (s *subscriber) Describe() (kind, name string) { return "subscriber", s.name }

// HandlerConnections implements core.ConnectionHolder: a handler in a transaction holds one.
func (s *subscriber) HandlerConnections() int {
	if s.work.inTx {
		return 1
	}
	return 0
}

// Prepare implements core.Binding.
func (s *subscriber) Prepare(core.Host) []error {
	if s.def.err != nil {
		return []error{s.def.err}
	}
	problems := s.opts.problems()
	if err := core.CheckName(s.name); err != nil {
		problems = append(problems, fmt.Errorf("the name %w", err))
	}
	if s.work.call == nil {
		problems = append(problems, errors.New("the handler is nil"))
	}
	for i, err := range problems {
		problems[i] = fmt.Errorf("strunk/events: subscriber %q: %w: %w", clip(s.name), err, ErrInvalid)
	}
	return problems
}

// Run implements core.Binding: it registers the subscriber, waits until it may own it, and has
// sessions deliver its events, one for each epoch, until the soft end.
func (s *subscriber) Run(life core.Life, rt core.Runtime) error {
	o := newOwner(s, rt)
	pause := firstPause
	for life.Soft.Err() == nil {
		err := o.register(life.Soft)
		if errors.Is(err, ErrInvalid) {
			return err
		}
		if errors.Is(err, errOutdated) {
			rt.Logger().Warn("strunk: a subscriber's entity type was renamed; this process leaves it to those "+
				"that know the new name", "subscriber", s.name,
				"entity_type", s.def.entityType, "error", err)
			<-life.Soft.Done()
			break
		}
		if err == nil {
			if err = o.own(life); err == nil {
				break
			}
		}
		if life.Soft.Err() == nil {
			s.logError(rt, "a subscriber could not be taken up", err)
		}
		core.Sleep(life.Soft, pause)
		pause = min(2*pause, o.poll)
	}
	return nil
}

func (s *subscriber) logError(rt core.Runtime, what string, err error) {
	if !errors.Is(err, context.Canceled) {
		rt.Logger().Warn("strunk: "+what+"; trying again", "subscriber", s.name, "error", err)
	}
}

// retryDelay asks the policy, which is the user's code.
func (o *owner) retryDelay(attempt int, err error) (d time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			o.rt.Logger().Error("strunk: a retry policy panicked; using the default", "subscriber", o.name, "panic", r)
			d = DefaultBackoff.Delay(attempt, err)
		}
	}()
	return min(max(o.opts.retry.Delay(attempt, err), 0), maxDuration)
}
