package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

type outcomeKind int

const (
	outcomeComplete outcomeKind = iota
	outcomeRetry
	// outcomeDead makes the task a dead letter.
	outcomeDead
	// outcomeCancelled and outcomeDiscarded end the task as somebody asked: no dead letter.
	outcomeCancelled
	outcomeDiscarded
	// outcomeLate ends the task because it must not begin any more.
	outcomeLate
	// outcomeSettled has been written by the handler's own transaction.
	outcomeSettled
)

// outcome is what becomes of a task after an attempt.
type outcome struct {
	job    *job
	kind   outcomeKind
	delay  time.Duration
	refund bool // the attempt is not spent
	err    error
	// isolated says that an outcome which cannot be stored has become a dead letter.
	isolated bool
}

// bytes is about how much the statement that writes the outcome moves.
func (o outcome) bytes() int64 {
	n := len(o.job.payload)
	if o.job.result != nil {
		n += len(*o.job.result)
	}
	return int64(n)
}

// givenBack is the outcome of a task that is to be pending again, its attempt not spent.
func givenBack(j *job) outcome { return outcome{job: j, kind: outcomeRetry, refund: true} }

// dead is the outcome of a task that is to be a dead letter.
func dead(j *job, err error) outcome { return outcome{job: j, kind: outcomeDead, err: err} }

// judge decides what becomes of tasks. Workers, manual claims and the dry run of package queuetest share it.
type judge struct {
	queue  string
	retry  RetryPolicy
	inTx   bool // the handlers have transactions
	logger *slog.Logger
}

func newJudge(def *definition, opts workerOptions, inTx bool, logger *slog.Logger) *judge {
	return &judge{queue: def.name, retry: opts.retry, inTx: inTx, logger: logger}
}

// decide returns the outcome of an attempt that returned err. ended is why the handler's context had ended by then; nil
// where it had not. The methods of err are the user's code: an error whose methods panic fails the attempt.
func (d *judge) decide(j *job, err, ended error) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = d.failed(j, fmt.Errorf("the handler returned a %T whose methods panic: %v", err, r))
		}
	}()
	switch {
	case j.settled:
		return outcome{job: j, kind: outcomeSettled}
	case err == nil:
		return outcome{job: j, kind: outcomeComplete}
	}
	if o, ok := requested(j, err); ok {
		return o
	}
	switch {
	case errors.Is(ended, ErrCancelled):
		return outcome{job: j, kind: outcomeCancelled, err: ended}
	case errors.Is(ended, ErrShutdown), errors.Is(ended, ErrLeaseLost), d.inTx && errors.Is(err, ErrLeaseLost):
		return givenBack(j) // not the handler's fault
	case errors.Is(ended, ErrTimeout):
		return d.failed(j, fmt.Errorf("%w after %v: %w", ErrTimeout, j.timeout, err))
	}
	return d.failed(j, err)
}

// failed is the outcome of a failed attempt: another one later, or a dead letter.
func (d *judge) failed(j *job, err error) outcome {
	if errors.Is(err, ErrPoison) || j.attempt >= j.maxAttempts {
		return dead(j, err)
	}
	return outcome{job: j, kind: outcomeRetry, err: err, delay: d.delay(j.attempt, err)}
}

// delay asks the retry policy, which is the user's code. A policy that panics is replaced by the
// default for this attempt.
func (d *judge) delay(attempt int, err error) (wait time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			d.logger.Error("strunk: a retry policy panicked; using the default", "queue", d.queue, "panic", r)
			wait = DefaultBackoff.Delay(attempt, err)
		}
	}()
	return min(max(d.retry.Delay(attempt, err), 0), maxDuration)
}

// requested is the outcome that a handler asked for by its error.
func requested(j *job, err error) (outcome, bool) {
	var s *snoozed
	if errors.As(err, &s) {
		return outcome{job: j, kind: outcomeRetry, delay: s.d, refund: true}, true
	}
	var h *onHold
	if errors.As(err, &h) {
		return givenBack(j), true
	}
	var d *discarded
	if errors.As(err, &d) {
		return outcome{job: j, kind: outcomeDiscarded, err: err}, true
	}
	var u *unspent
	if errors.As(err, &u) {
		return outcome{job: j, kind: outcomeRetry, delay: u.delay, refund: true, err: u.err}, true
	}
	return outcome{}, false
}

// unspent is an error that is not the attempt's: the task is tried again after delay, and no attempt is spent.
type unspent struct {
	err   error
	delay time.Duration
}

func (u *unspent) Error() string { return u.err.Error() }
func (u *unspent) Unwrap() error { return u.err }

// cancelled is the cause of the context of a task that was cancelled. Its text is kept as the task's last error.
type cancelled struct{ text string }

func (c *cancelled) Error() string        { return c.text }
func (c *cancelled) Is(target error) bool { return target == ErrCancelled }

// unstorable is the error of a task whose outcome cannot be stored.
type unstorable struct{ why string }

func (u *unstorable) Error() string { return "the outcome cannot be stored: " + u.why }
