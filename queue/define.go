package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Defaults of Config and of workers.
const (
	DefaultMaxAttempts       = 12
	DefaultPriority          = 0
	DefaultTimeout           = 5 * time.Minute
	DefaultMaxPayload        = 1 << 20
	DefaultConcurrency       = 10
	DefaultVisibilityTimeout = 30 * time.Second
)

// Bounds of what can be stored.
const (
	// MaxPriority is the highest priority; 0 is the lowest. Each level costs a claim a search of its own.
	MaxPriority = 9
	// MaxAttemptsLimit bounds MaxAttempts.
	MaxAttemptsLimit = 1000
	// MaxConcurrency bounds Concurrency.
	MaxConcurrency = 10_000
)

// Config holds a queue's defaults. The zero value is usable: each field says what zero means.
type Config struct {
	// MaxAttempts is how often a task is tried, the first attempt included, before it becomes a dead letter; zero means
	// DefaultMaxAttempts. (In the specification's words, max_retries.)
	MaxAttempts int
	// Priority is that of tasks enqueued without the option: 0 (DefaultPriority) to MaxPriority, higher first.
	Priority int
	// Timeout bounds one attempt: the handler's context ends then. Zero means DefaultTimeout.
	Timeout time.Duration
	// Retry says how long a failed task waits for its next attempt; nil means DefaultBackoff.
	Retry RetryPolicy
	// MaxPayload bounds the payload's JSON, in bytes; zero means DefaultMaxPayload.
	MaxPayload int
	// DiscardDelivered deletes tasks when they are done instead of keeping them as delivered rows:
	// less to write, and no history.
	DiscardDelivered bool
	// Dedup gives tasks that are enqueued without a dedup key one that is made of their payload: see
	// DedupByPayload. The zero value gives none.
	Dedup PayloadDedup
	// BeginWithin is the time to live of tasks that are enqueued without a deadline of their own: see
	// the option BeginWithin. Zero means none.
	BeginWithin time.Duration
	// DeadIfLate makes dead letters of tasks that have not begun by their deadline: see BeginBefore.
	// Otherwise they are discarded.
	DeadIfLate bool
	// Limits hold over all processes; the zero value is none.
	Limits Limits
	// Outcomes is the entity type as whose state events the outcomes of tasks are published, see [Outcome]; empty means
	// that they are not. It takes effect when a worker of the queue starts, also for tasks that are cancelled or die
	// elsewhere; the workers of a queue should agree.
	Outcomes string
	// Steps declares the names of the steps that the handlers have, see [Step]; empty means that any name may be used.
	// One that ends with * stands for all names that begin so. With them a step of another name is an error, and so is
	// the stored result of one: it was renamed.
	Steps []string
	// SchemaVersion is the version of the schema that the Validator checks against; empty means the newest.
	SchemaVersion string
	// Validator checks each payload before the transaction is touched and before middleware sees it; nil means none.
	Validator Validator
	// Middleware is around the enqueues and the handlers of this queue.
	Middleware []Middleware
	// Aliases are previous names of a renamed queue: its workers also work the tasks that are
	// enqueued under them, with the worker's concurrency for all names together, and Get, Cancel,
	// Wait, Result, Progress, Pause and Resume know those tasks. Enqueues use the name. What the
	// database keeps by name it keeps apart: Task.Queue is the one that a task was enqueued under,
	// and equal dedup keys under two names are no duplicates.
	Aliases []string
}

// definition is a queue without its type.
type definition struct {
	name string
	cfg  Config
	err  error
	// results says that the queue's handlers return results.
	results bool
}

var errZeroQueue = errors.New("strunk/queue: the zero Queue is unusable: declare it with queue.Define")

type decodable = core.Decodable

func newQueue[T any](def *definition) *Queue[T] {
	return &Queue[T]{core.NewDecodable(payloads[T]{def: def}.decoder), def}
}

// definition of a zero Queue is one that reports what to do.
func (q *Queue[T]) definition() *definition {
	if q == nil || q.def == nil {
		return &definition{err: errZeroQueue, cfg: Config{}.withDefaults()}
	}
	return q.def
}

func newDefinition(name string, cfg Config) *definition {
	d := &definition{name: name, cfg: cfg.withDefaults()}
	var problems []error
	if err := core.CheckName(name); err != nil {
		problems = append(problems, fmt.Errorf("strunk/queue: define %q: the name %w: %w", clip(name), err, ErrInvalid))
	}
	for _, err := range core.CheckAliases(name, "the queue's own name", cfg.Aliases, clip) {
		problems = append(problems, fmt.Errorf("strunk/queue: define %q: Config.Aliases: %w: %w", clip(name), err,
			ErrInvalid))
	}
	for _, err := range d.cfg.problems() {
		problems = append(problems, fmt.Errorf("strunk/queue: define %q: Config.%w: %w", clip(name), err, ErrInvalid))
	}
	d.err = errors.Join(problems...)
	return d
}

func (c Config) withDefaults() Config {
	c.Aliases, c.Steps = slices.Clone(c.Aliases), slices.Clone(c.Steps)
	if c.MaxAttempts == 0 {
		c.MaxAttempts = DefaultMaxAttempts
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Retry == nil {
		c.Retry = DefaultBackoff
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	return c
}

func (c Config) problems() (errs []error) {
	if err := checkRange("MaxAttempts", c.MaxAttempts, 1, MaxAttemptsLimit); err != nil {
		errs = append(errs, err)
	}
	if err := checkRange("Priority", c.Priority, 0, MaxPriority); err != nil {
		errs = append(errs, err)
	}
	if err := checkTimeout("Timeout", c.Timeout); err != nil {
		errs = append(errs, err)
	}
	for _, err := range c.Limits.problems() {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if err := checkOutcomes(c.Outcomes); err != nil {
		errs = append(errs, err)
	}
	for _, name := range c.Steps {
		if err := core.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q %w", "Steps", clip(name), err))
		}
	}
	if c.SchemaVersion != "" {
		if err := core.CheckName(c.SchemaVersion); err != nil {
			errs = append(errs, fmt.Errorf("SchemaVersion %w", err))
		}
	}
	if c.BeginWithin < 0 || c.BeginWithin > maxWindow {
		errs = append(errs, fmt.Errorf("BeginWithin: %v is not from 0s to %v", c.BeginWithin, maxWindow))
	}
	if c.MaxPayload < 0 {
		errs = append(errs, fmt.Errorf("MaxPayload: %d is negative", c.MaxPayload))
	}
	return errs
}

func checkRange(name string, v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("%s: %d is not from %d to %d", name, v, low, high)
	}
	return nil
}

// maxDuration keeps milliseconds within PostgreSQL's integer.
const maxDuration = 24 * 24 * time.Hour

func checkTimeout(name string, d time.Duration) error {
	if d < time.Millisecond || d > maxDuration {
		return fmt.Errorf("%s: %v is not from 1ms to %v", name, d, maxDuration)
	}
	return nil
}

// clip keeps an overlong name out of an error text.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
