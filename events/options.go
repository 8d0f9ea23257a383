package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Defaults of subscribers.
const (
	DefaultConcurrency       = 10
	DefaultBatchSize         = 100
	DefaultMaxAttempts       = 12
	DefaultTimeout           = 5 * time.Minute
	DefaultVisibilityTimeout = 30 * time.Second
)

// Bounds of options.
const (
	// MaxConcurrency bounds Concurrency.
	MaxConcurrency = 10_000
	// MaxBatchSize bounds BatchSize.
	MaxBatchSize = 1000
	// MaxAttemptsLimit bounds MaxAttempts.
	MaxAttemptsLimit = 1000
)

// PublishOption changes one publish.
type PublishOption interface{ applyPublish(*publishOptions) }

type publishOption func(*publishOptions)

func (f publishOption) applyPublish(o *publishOptions) { f(o) }

type publishOptions struct {
	schemaVersion string
	metadata      map[string]string
	diff          json.RawMessage
}

// SchemaVersion is kept with the event, and checked against where the stream has a Validator.
func SchemaVersion(version string) PublishOption {
	return publishOption(func(o *publishOptions) { o.schemaVersion = version })
}

// Metadata attaches text to an event that handlers see beside the state. Several add up.
func Metadata(m map[string]string) PublishOption {
	return publishOption(func(o *publishOptions) {
		if o.metadata == nil {
			o.metadata = m
			return
		}
		all := maps.Clone(o.metadata)
		maps.Copy(all, m)
		o.metadata = all
	})
}

// Diff attaches a JSON document that says what has changed, in whatever words publisher and subscribers agree on.
func Diff(doc json.RawMessage) PublishOption {
	return publishOption(func(o *publishOptions) { o.diff = doc })
}

func applyPublish(opts []PublishOption) (o publishOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyPublish(&o)
		}
	}
	return o
}

func (o *publishOptions) check(most int) error {
	if err := checkVersion(o.schemaVersion); err != nil {
		return fmt.Errorf("SchemaVersion %w", err)
	}
	if o.diff == nil {
		return nil
	}
	if !json.Valid(o.diff) {
		return errors.New("Diff: not a JSON document")
	}
	if err := core.CheckJSON(o.diff, most); err != nil {
		return fmt.Errorf("Diff: the document %w", err)
	}
	return nil
}

// Start says where a subscriber begins when its name is first seen. Later runs go on from its cursor.
type Start string

const (
	// FromBeginning delivers every event that is kept. It is the default.
	FromBeginning Start = "beginning"
	// FromSnapshots delivers the current state of every entity first, each once, and then the
	// events that come after it.
	FromSnapshots Start = "snapshots"
	// FromNow delivers what is relayed from now on.
	FromNow Start = "now"
)

// FailurePolicy says what becomes of an event whose handler fails.
type FailurePolicy string

const (
	// Block tries the event again until it succeeds, with backoff: nothing is passed over, and the
	// cursor waits. Of the other entities one in Concurrency, by chance, waits too, and the rest go
	// on as far as is read ahead. It is the default. A person may skip the event (Skip).
	Block FailurePolicy = "block"
	// Park holds back the event's entity alone: its events become deliveries, kept for this
	// subscriber, while the others go on. After MaxAttempts the entity stays parked until a person
	// retries or releases it.
	Park FailurePolicy = "park"
	// DeadLetter is Park until MaxAttempts; then the event becomes a dead letter, and the entity's later events follow.
	DeadLetter FailurePolicy = "dead-letter"
)

// SubscribeOption changes one subscriber.
type SubscribeOption interface{ applySubscribe(*subscribeOptions) }

type subscribeOption func(*subscribeOptions)

func (f subscribeOption) applySubscribe(o *subscribeOptions) { f(o) }

type subscribeOptions struct {
	concurrency int
	batch       int
	attempts    int
	timeout     time.Duration
	lease       time.Duration
	poll        time.Duration
	start       Start
	policy      FailurePolicy
	retry       RetryPolicy
}

// Concurrency sets how many events are handled at once, each of another entity; without it DefaultConcurrency. A
// SubscriberInTx handles one at a time.
func Concurrency(n int) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.concurrency = n })
}

// BatchSize bounds the events that a BatchSubscriber's handler is given at once, and those that a
// SubscriberInTx handles in one transaction; without it DefaultBatchSize.
func BatchSize(n int) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.batch = n })
}

// From sets where a new subscriber starts; without it FromBeginning.
func From(start Start) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.start = start })
}

// OnFailure sets the policy for failing events; without it Block.
func OnFailure(policy FailurePolicy) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.policy = policy })
}

// MaxAttempts sets how often an event is tried before Park and DeadLetter give it up, the first
// attempt included; without it DefaultMaxAttempts. Block never gives up.
func MaxAttempts(n int) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.attempts = n })
}

// Retry sets how long a failed event waits; without it DefaultBackoff.
func Retry(policy RetryPolicy) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.retry = policy })
}

// Timeout bounds one call of the handler: its context ends then; without it DefaultTimeout.
func Timeout(d time.Duration) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.timeout = d })
}

// VisibilityTimeout sets how long the owner of a subscriber may be silent before another process
// takes over; without it DefaultVisibilityTimeout. It bounds no handler: as long as the process
// lives the lease is renewed.
func VisibilityTimeout(d time.Duration) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.lease = d })
}

// PollInterval sets how often the subscriber looks for events that no notification announced;
// without it that of the box.
func PollInterval(d time.Duration) SubscribeOption {
	return subscribeOption(func(o *subscribeOptions) { o.poll = d })
}

func newSubscribeOptions(opts []SubscribeOption) subscribeOptions {
	o := subscribeOptions{concurrency: DefaultConcurrency, batch: DefaultBatchSize, attempts: DefaultMaxAttempts,
		timeout: DefaultTimeout,
		lease:   DefaultVisibilityTimeout, start: FromBeginning, policy: Block, retry: DefaultBackoff}
	for _, opt := range opts {
		if opt != nil {
			opt.applySubscribe(&o)
		}
	}
	return o
}

const (
	// minLease leaves room for a heartbeat's round trip.
	minLease = 200 * time.Millisecond
	// maxDuration keeps milliseconds within PostgreSQL's integer.
	maxDuration = 24 * 24 * time.Hour
)

func (o subscribeOptions) problems() (errs []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.concurrency >= 1 && o.concurrency <= MaxConcurrency, "Concurrency: %d is not from 1 to %d",
		o.concurrency, MaxConcurrency)
	check(o.batch >= 1 && o.batch <= MaxBatchSize, "BatchSize: %d is not from 1 to %d", o.batch, MaxBatchSize)
	check(o.attempts >= 1 && o.attempts <= MaxAttemptsLimit, "MaxAttempts: %d is not from 1 to %d", o.attempts,
		MaxAttemptsLimit)
	check(o.timeout >= time.Millisecond && o.timeout <= maxDuration, "Timeout: %v is not from 1ms to %v",
		o.timeout, maxDuration)
	check(o.lease >= minLease && o.lease <= maxDuration, "VisibilityTimeout: %v is not from %v to %v",
		o.lease, minLease, maxDuration)
	check(o.poll >= 0, "PollInterval: %v is negative", o.poll)
	check(o.retry != nil, "Retry: the policy is nil")
	check(o.start == FromBeginning || o.start == FromSnapshots || o.start == FromNow,
		"From: %q is not one of the Start constants", o.start)
	check(o.policy == Block || o.policy == Park || o.policy == DeadLetter,
		"OnFailure: %q is not one of the FailurePolicy constants", o.policy)
	return errs
}

// RetryPolicy says how long a failed event waits.
type RetryPolicy interface {
	// Delay returns the wait after the attempt (1 is the first) failed with err. Zero or less means
	// at once. It is called from several goroutines.
	Delay(attempt int, err error) time.Duration
}

// Backoff doubles the wait with each attempt, with jitter so that events which failed together do not return together.
type Backoff struct {
	// First is the wait after the first attempt.
	First time.Duration
	// Max bounds the wait before jitter; zero is no bound.
	Max time.Duration
	// Jitter is the part, 0 to 1, by which a wait is made longer or shorter at random.
	Jitter float64
}

// DefaultBackoff is 1 s doubling to 1 h, with 20 % jitter.
var DefaultBackoff = Backoff{First: time.Second, Max: time.Hour, Jitter: 0.2}

// Delay implements RetryPolicy.
func (b Backoff) Delay(attempt int, _ error) time.Duration {
	wait := float64(b.First) * math.Pow(2, float64(max(attempt, 1)-1))
	if b.Max > 0 {
		wait = min(wait, float64(b.Max))
	}
	wait *= 1 + b.Jitter*(2*rand.Float64()-1)
	return time.Duration(min(max(wait, 0), float64(maxDuration)))
}
