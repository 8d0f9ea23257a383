package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// EnqueueOption changes one enqueue.
type EnqueueOption interface{ applyEnqueue(*enqueueOptions) }

// WorkerOption changes one worker.
type WorkerOption interface{ applyWorker(*workerOptions) }

// Option fits both.
type Option interface {
	EnqueueOption
	WorkerOption
}

type enqueueOptions struct {
	priority    *int
	maxAttempts *int
	delay       *time.Duration
	due         *time.Time
	timeout     *time.Duration
	dedupKey    *string
	customerKey *string
	dedupMode   dedupMode
	beginBefore *time.Time
	beginWithin *time.Duration
	metadata    map[string]string
	batch       int64 // 0: none
}

type enqueueOption func(*enqueueOptions)

func (f enqueueOption) applyEnqueue(o *enqueueOptions) { f(o) }

// Priority sets a task's priority: 0 to MaxPriority, higher first. Priorities are strict: a lower one waits as long as
// higher ones keep coming.
func Priority(p int) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.priority = &p })
}

// MaxAttempts sets how often a task is tried, the first attempt included.
func MaxAttempts(n int) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.maxAttempts = &n })
}

// Delay makes a task due this long after it is enqueued, by the database's clock.
func Delay(d time.Duration) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.delay = &d })
}

// DueAt makes a task due at a time; one in the past is due at once.
func DueAt(t time.Time) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.due = &t })
}

// DedupKey keeps a second task with the key out of the queue while the first is scheduled, pending or claimed.
func DedupKey(key string) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.dedupKey, o.dedupMode = &key, dedupMode{} })
}

// Metadata attaches text to a task that handlers and middleware see beside the payload.
func Metadata(m map[string]string) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.metadata = m })
}

type timeoutOption time.Duration

// Timeout bounds one attempt: given to an enqueue, of that task; given to a worker, of every task
// without one of its own.
func Timeout(d time.Duration) Option { return timeoutOption(d) }

func (d timeoutOption) applyEnqueue(o *enqueueOptions) { v := time.Duration(d); o.timeout = &v }
func (d timeoutOption) applyWorker(o *workerOptions)   { o.timeout = time.Duration(d) }

func (o *enqueueOptions) check() error {
	var errs []error
	if o.priority != nil {
		errs = append(errs, checkRange("Priority", *o.priority, 0, MaxPriority))
	}
	if o.maxAttempts != nil {
		errs = append(errs, checkRange("MaxAttempts", *o.maxAttempts, 1, MaxAttemptsLimit))
	}
	if o.delay != nil && *o.delay < 0 {
		errs = append(errs, fmt.Errorf("Delay: %v is negative", *o.delay))
	}
	if o.delay != nil && o.due != nil {
		errs = append(errs, errors.New("Delay and DueAt exclude each other: give one"))
	}
	if o.due != nil && (o.due.Year() < 1 || o.due.Year() > 9999) {
		errs = append(errs, fmt.Errorf("DueAt: the year %d is not from 1 to 9999", o.due.Year()))
	}
	if o.timeout != nil {
		errs = append(errs, checkTimeout("Timeout", *o.timeout))
	}
	errs = append(errs, o.checkDedup(), o.checkDeadline())
	if o.dedupKey != nil {
		if err := core.CheckKey(*o.dedupKey); err != nil {
			errs = append(errs, fmt.Errorf("DedupKey: %w", err))
		}
	}
	if o.customerKey != nil {
		if err := core.CheckKey(*o.customerKey); err != nil {
			errs = append(errs, fmt.Errorf("CustomerKey: %w", err))
		}
	}
	return errors.Join(errs...)
}

type workerOptions struct {
	concurrency int
	// concurrencyGiven says that Concurrency was among the options.
	concurrencyGiven bool
	lease            time.Duration
	timeout          time.Duration
	poll             time.Duration
	// claimTimeout bounds one claim: claimTimeout, but in tests.
	claimTimeout time.Duration
	retry        RetryPolicy
	inbox        *string
	isolation    pgx.TxIsoLevel
	slots        *SharedSlots
	minSlots     *int
	slotWeight   *int
	batch        batchOptions
	middleware   []Middleware
}

type workerOption func(*workerOptions)

func (f workerOption) applyWorker(o *workerOptions) { f(o) }

// Concurrency sets how many handlers of a worker run at once; without it DefaultConcurrency. A
// worker whose handlers are quick claims more than that ahead, at most some milliseconds' worth.
func Concurrency(n int) WorkerOption {
	return workerOption(func(o *workerOptions) { o.concurrency, o.concurrencyGiven = n, true })
}

// VisibilityTimeout sets the lease: a worker whose heartbeat has been missing for this long has its
// tasks given to others; without it DefaultVisibilityTimeout. It bounds no handler: as long as the
// process lives the lease is renewed.
func VisibilityTimeout(d time.Duration) WorkerOption {
	return workerOption(func(o *workerOptions) { o.lease = d })
}

// PollInterval sets how often the worker looks for tasks that no notification announced; without it that of the box.
func PollInterval(d time.Duration) WorkerOption {
	return workerOption(func(o *workerOptions) { o.poll = d })
}

// Retry sets the worker's retry policy; without it that of the queue.
func Retry(p RetryPolicy) WorkerOption {
	return workerOption(func(o *workerOptions) { o.retry = p })
}

func newWorkerOptions(d *definition, opts []WorkerOption) workerOptions {
	o := workerOptions{concurrency: DefaultConcurrency, lease: DefaultVisibilityTimeout, timeout: d.cfg.Timeout,
		claimTimeout: claimTimeout, retry: d.cfg.Retry}
	for _, opt := range opts {
		if opt != nil {
			opt.applyWorker(&o)
		}
	}
	o.settleSlots()
	return o
}

// minLease leaves room for a heartbeat's round trip.
const minLease = 200 * time.Millisecond

func (o workerOptions) problems() (errs []error) {
	for _, err := range []error{
		checkRange("Concurrency", o.concurrency, 1, MaxConcurrency),
		checkTimeout("Timeout", o.timeout),
	} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if o.lease < minLease || o.lease > maxDuration {
		errs = append(errs, fmt.Errorf("VisibilityTimeout: %v is not from %v to %v", o.lease, minLease, maxDuration))
	}
	if o.poll < 0 {
		errs = append(errs, fmt.Errorf("PollInterval: %v is negative", o.poll))
	}
	if o.inbox != nil {
		if err := core.CheckName(*o.inbox); err != nil {
			errs = append(errs, fmt.Errorf("Inbox: the consumer's name %w", err))
		}
	}
	if o.retry == nil {
		errs = append(errs, errors.New("Retry: the policy is nil"))
	}
	return append(errs, o.slotProblems()...)
}
