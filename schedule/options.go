package schedule

import (
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// RegisterOption changes a registration.
type RegisterOption interface{ applyRegister(*registerOptions) }

// Option changes any call, a registration included.
type Option interface {
	RegisterOption
	applyCall(*callOptions)
}

type callOptions struct{ tx outbox.Tx }

type registerOptions struct {
	callOptions
	zone    string
	misfire Misfire
	task    []queue.EnqueueOption
}

type registerOption func(*registerOptions)

func (f registerOption) applyRegister(o *registerOptions) { f(o) }

// TimeZone sets the time zone that a cron expression or a word with an @ follows, as in "Europe/Berlin"; without it
// DefaultTimeZone.
func TimeZone(name string) RegisterOption {
	return registerOption(func(o *registerOptions) { o.zone = name })
}

// Task sets options of the tasks that are enqueued: priority, attempts, timeout, metadata. With a
// queue.DedupKey a due time adds no task while the one of an earlier time is still waiting or
// running. A delay or due time of its own is refused.
func Task(opts ...queue.EnqueueOption) RegisterOption {
	return registerOption(func(o *registerOptions) { o.task = append(o.task, opts...) })
}

// OnMisfire sets what becomes of due times that have passed while nobody ran; without it RunOnce.
func OnMisfire(m Misfire) RegisterOption {
	return registerOption(func(o *registerOptions) { o.misfire = m })
}

type txOption struct{ tx outbox.Tx }

// In makes the call part of a transaction of the caller's: it takes effect with the commit.
func In(tx outbox.Tx) Option { return txOption{tx} }

func (t txOption) applyRegister(o *registerOptions) { o.tx = t.tx }
func (t txOption) applyCall(o *callOptions)         { o.tx = t.tx }

func newRegisterOptions(opts []RegisterOption) registerOptions {
	o := registerOptions{misfire: RunOnce}
	for _, opt := range opts {
		if opt != nil {
			opt.applyRegister(&o)
		}
	}
	return o
}

func newCallOptions(opts []Option) (o callOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyCall(&o)
		}
	}
	return o
}

var errTimed = errors.New("Task: a scheduled task is due when its schedule says: leave out Delay and DueAt")

// maxPayload is what strunk_enqueue takes.
const maxPayload = 1 << 20

func checkPayload(payload string) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("the payload has %d bytes, more than %d; keep large data in a table of its own",
			len(payload), maxPayload)
	}
	return nil
}
