package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
)

// maxRemoteAhead bounds the tasks that a remote worker has taken and not begun: each of them spends
// an attempt when its process is killed.
const maxRemoteAhead = 500

func init() {
	queuelink.NewRemote = func(w core.Binding, extensions []any, logger *slog.Logger) (queuelink.Remote, []error) {
		chain := make([]Middleware, len(extensions))
		for i, e := range extensions {
			chain[i] = e.(Middleware)
		}
		return newRemote(w.(*worker), chain, logger)
	}
}

// remote runs the handlers of a worker for tasks that a broker has. There is no database: the
// outcome is for the caller to carry out.
type remote struct {
	worker  *worker
	work    work // the handler in its middleware
	judge   *judge
	latency *latency
	hooks   *deadHooks
	logger  *slog.Logger
}

func newRemote(w *worker, extensions []Middleware, logger *slog.Logger) (*remote, []error) {
	problems := append(w.def.unfitForBroker(), w.Prepare(nil)...)
	problems = append(problems, w.unfitOptions()...)
	w.Dismiss()
	chain := append(append(append([]Middleware(nil), extensions...), w.def.cfg.Middleware...), w.opts.middleware...)
	return &remote{worker: w, work: through(w.work, chain), judge: newJudge(w.def, w.opts, false, logger),
		latency: newLatency(), logger: logger,
		hooks: newDeadHooks(context.Background(), logger, chain, processName())}, problems
}

// unfitOptions lists the options that need a database.
func (w *worker) unfitOptions() (problems []error) {
	refuse := func(given bool, option string) {
		if given {
			problems = append(problems, fmt.Errorf("strunk/queue: worker %q at a broker: %s: it needs the database; "+
				"use Queue.Worker: %w", clip(w.def.name), option, ErrInvalid))
		}
	}
	refuse(w.opts.inbox != nil, "Inbox")
	refuse(w.opts.isolation != "", "Isolation")
	refuse(w.opts.poll != 0, "PollInterval")
	refuse(w.opts.slots != nil, "Slots")
	return problems
}

// Queue implements queuelink.Remote.
func (r *remote) Queue() string { return r.worker.def.name }

// Concurrency implements queuelink.Remote.
func (r *remote) Concurrency() int { return r.worker.opts.concurrency }

// Lease implements queuelink.Remote.
func (r *remote) Lease() time.Duration { return r.worker.opts.lease }

// Ahead implements queuelink.Remote.
func (r *remote) Ahead() int {
	n := int64(r.Concurrency())
	perTask := r.latency.perTask(time.Now(), n, true)
	if perTask <= 0 {
		return 0
	}
	return int(min(n*int64(aheadTime)/int64(perTask), maxRemoteAhead))
}

// Attempt implements queuelink.Remote.
func (r *remote) Attempt(base context.Context, task queuelink.Carried) queuelink.Outcome {
	j := r.job(task)
	ctx, cancel := context.WithTimeoutCause(context.WithValue(base, contextKey{}, j), j.timeout, ErrTimeout)
	defer cancel()
	began, done := time.Now(), make(chan error, 1)
	go r.handle(ctx, j, done)
	err, returned := awaitHandler(ctx, done)
	r.latency.ran(time.Since(began))
	if !returned {
		r.logger.Error("strunk: a handler did not return after its context had ended; its task is given back and its "+
			"goroutine left behind", "queue", j.queue, "task", j.id, "attempt", j.attempt)
		err = fmt.Errorf("%w, and the handler did not return", context.Cause(ctx))
	}
	return outcomeFound(r.judge.decide(j, err, context.Cause(ctx)))
}

func (r *remote) job(task queuelink.Carried) *job {
	j := &job{id: task.ID, queue: task.Queue, createdAt: task.CreatedAt, dueAt: task.DueAt, timeout: task.Timeout,
		attempt: task.Attempt, maxAttempts: max(task.MaxAttempts, 1), priority: task.Priority, dedupKey: task.DedupKey,
		key: task.CustomerKey, payload: task.Payload, metadataJSON: task.Metadata, logger: r.logger, remote: true}
	if j.timeout <= 0 {
		j.timeout = r.worker.opts.timeout
	}
	return j
}

// handle runs the handler and says what it returned, also when it ends its goroutine.
func (r *remote) handle(ctx context.Context, j *job, done chan<- error) {
	err := errors.New("the handler ended its goroutine (runtime.Goexit)")
	defer func() { done <- err }()
	err = recovered(ctx, j, r.work)
}

// awaitHandler waits for a handler, and after the end of its context for core.HandlerPatience.
func awaitHandler(ctx context.Context, done <-chan error) (err error, returned bool) {
	select {
	case err := <-done:
		return err, true
	case <-ctx.Done():
	}
	timer := time.NewTimer(core.HandlerPatience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err, true
	case <-timer.C:
		return nil, false
	}
}

// Died implements queuelink.Remote.
func (r *remote) Died(task queuelink.Carried) {
	j := r.job(task)
	err := errors.New(task.Error)
	if task.Stack != "" {
		err = &PanicError{Value: task.Error, Stack: task.Stack}
	}
	r.hooks.call([]outcome{dead(j, err)})
}

// Drain implements queuelink.Remote.
func (r *remote) Drain(hard, end context.Context) {
	r.hooks.await(core.Life{Hard: hard, End: end}, nil)
}
