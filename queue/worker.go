package queue

import (
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

// Worker is a typed consumer of one queue, made by [Queue.Worker]. It is an outbox.Binding: hand it to outbox.Box.Run.
type Worker[T any] struct {
	bound
}

type bound = core.Bound

func typedWorker[T any](w *worker) *Worker[T] {
	return &Worker[T]{core.NewBound(func() core.Binding { return w })}
}

// worker is a Worker without its type.
type worker struct {
	def  *definition
	work work
	inTx workInTx // instead of work, for handlers in a transaction
	// batch is there instead of work for batch handlers.
	batch *batching
	// carries says that the worker hands tasks to a broker instead of handling them: see [newCarrier].
	carries bool
	opts    workerOptions
	share   *slotShare // of slots that workers share; nil for none
	permits
	names []string // all names of the queue, where it has several
}

func newWorker(def *definition, work work, opts []WorkerOption) *worker {
	w := &worker{def: def, work: work, opts: newWorkerOptions(def, opts)}
	w.share = w.opts.newShare()
	return w
}

// Describe implements core.Binding.
func (w *worker) Describe() (kind, name string) { return "worker", w.def.name }

// HandlerConnections implements core.ConnectionHolder: each handler in a transaction holds one.
func (w *worker) HandlerConnections() int {
	if w.inTx == nil {
		return 0
	}
	return w.opts.concurrency
}

// SharedHandlers implements core.ConnectionSharer.
func (w *worker) SharedHandlers() (shared any, most int) {
	if w.opts.slots == nil {
		return nil, 0
	}
	return w.opts.slots, w.opts.slots.size
}

// Prepare implements core.Binding.
func (w *worker) Prepare(core.Host) []error {
	if w.def.err != nil {
		return []error{w.def.err}
	}
	var errs []error
	if w.work == nil && w.inTx == nil && (w.batch == nil || w.batch.handle == nil) {
		errs = append(errs, fmt.Errorf("strunk/queue: worker %q: the handler is nil: %w", w.def.name, ErrInvalid))
	}
	problems := append(w.opts.problems(), w.batchProblems()...)
	if len(problems) == 0 {
		problems = w.share.declare()
	}
	for _, err := range problems {
		errs = append(errs, fmt.Errorf("strunk/queue: worker %q: %w: %w", w.def.name, err, ErrInvalid))
	}
	return errs
}

// Dismiss implements core.Keeper.
func (w *worker) Dismiss() {
	if w.share != nil {
		w.share.dismiss()
	}
}

// BeginsByClaim implements core.Beginner.
func (w *worker) BeginsByClaim() {}

// Run implements core.Binding: one session for each lease, until the soft end.
func (w *worker) Run(life core.Life, rt core.Runtime) error {
	w.share.join()
	defer w.share.leave()
	if len(w.def.cfg.Aliases) > 0 {
		return w.runNames(life, rt)
	}
	poll := w.opts.poll
	if poll == 0 {
		poll = rt.Settings().PollInterval
	}
	pause, size := firstPause, newClaimSize()
	for life.Soft.Err() == nil {
		s, err := newSession(w, life, rt, poll, size)
		if err != nil && life.Soft.Err() != nil {
			return nil
		}
		if err != nil {
			life.Begun()
			rt.Logger().Warn("strunk: a worker could not take its lease; trying again", "queue", w.def.name, "error",
				err)
			core.Sleep(life.Soft, pause)
			pause = min(2*pause, poll)
			continue
		}
		pause = firstPause
		s.run()
	}
	return nil
}

// handler returns the worker's handler as an executor calls it: in its batch, in its transaction, or with its inbox,
// and in its middleware.
func (w *worker) handler(rt core.Runtime, batches *batcher, writer *outcomeWriter, chain []Middleware) work {
	inbox := newInboxMarks(rt, w.opts.inbox)
	var handler work
	switch {
	case w.inTx != nil:
		handler = newTxRunner(rt, w, inbox, writer).run
	case w.batch != nil:
		handler = inbox.around(batches.join)
	default:
		handler = inbox.around(w.work)
	}
	return watchDedup(rt, w.def, through(handler, chain))
}
