package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
)

// carryTimeout is the timeout of a batch on its way to a broker: one that does not take it now takes it later.
const carryTimeout = 20 * 24 * time.Hour

func init() {
	queuelink.Carrier = func(q any, send queuelink.Send, batches, size int) core.Binding {
		return newCarrier(q.(interface{ definition() *definition }).definition(), send, batches, size)
	}
	queuelink.Returned = func(ctx context.Context, tx any, task queuelink.Carried) (bool, error) {
		t, _ := tx.(outbox.Tx)
		return returned(ctx, t, task)
	}
}

// carrier is a worker that hands the tasks of its queue to a broker and completes them when the
// broker has them. It spends no attempt: those are for who handles the tasks, and so are their
// time-outs and the queue's middleware.
type carrier struct{ *worker }

func newCarrier(def *definition, send queuelink.Send, batches, size int) *carrier {
	b := &batching{decode: func(j *job) (any, error) { return carriedOf(j), nil }, handle: carry(send)}
	w := newBatchWorker(def, b, []WorkerOption{Concurrency(batches), BatchSize(size), BatchWait(0),
		Timeout(carryTimeout)})
	w.carries = true
	return &carrier{w}
}

// carry is a batch handler that sends.
func carry(send queuelink.Send) func(context.Context, []any) error {
	if send == nil {
		return nil
	}
	return func(ctx context.Context, erased []any) error {
		tasks := make([]queuelink.Carried, len(erased))
		for i, task := range erased {
			tasks[i] = task.(queuelink.Carried)
		}
		outcomes := Outcomes(send(ctx, tasks))
		for i, err := range outcomes {
			if errors.As(err, new(queuelink.NotSent)) {
				outcomes[i] = Snooze(0)
			}
		}
		return outcomes
	}
}

func carriedOf(j *job) queuelink.Carried {
	return queuelink.Carried{ID: j.id, Queue: j.queue, Payload: j.payload, Metadata: j.metadataJSON,
		CreatedAt: j.createdAt, DueAt: j.dueAt, Timeout: j.ownTimeout, Attempt: j.attempt, MaxAttempts: j.maxAttempts,
		Priority: j.priority, DedupKey: j.dedupKey, CustomerKey: j.key}
}

// Prepare implements core.Binding.
func (c *carrier) Prepare(host core.Host) []error {
	problems := c.def.unfitForBroker()
	if c.def.results { // the batch worker underneath would say it in other words
		return problems
	}
	return append(problems, c.worker.Prepare(host)...)
}

// unfitForBroker lists what a queue declares and no worker at a broker could keep.
func (d *definition) unfitForBroker() (problems []error) {
	refuse := func(what, why string) {
		problems = append(problems, fmt.Errorf("strunk/queue: queue %q at a broker: %s: %s: %w", clip(d.name), what,
			why, ErrInvalid))
	}
	if d.results {
		refuse("DefineWithResult", "results are stored with the completion, and nobody there has the database; "+
			"enqueue the answer as a task, or use Queue.Worker")
	}
	limits := d.cfg.Limits
	limits.Version = 0
	if limits.FIFO || limits.HoldDead {
		refuse("Limits.FIFO", "a broker hands the tasks of a key to several workers at once; use Queue.Worker")
		limits.FIFO, limits.HoldDead = false, false
	}
	if limits.Fair {
		refuse("Limits.Fair", "a broker decides what is begun next; use Queue.Worker")
		limits.Fair = false
	}
	if limits != (Limits{}) {
		refuse("Limits", "only the database counts what runs; bound the workers by Concurrency, or use Queue.Worker")
	}
	return problems
}

// sqlReturned makes a dead letter of task $1 of queue $2 that a broker's worker gave up: see strunk_returned.
const sqlReturned = `SELECT {schema}.strunk_returned($1::bigint, $2::text, $3::text, $4::text, $5::timestamptz,
	$6::timestamptz, $7::integer, $8::integer, $9::integer, $10::integer, $11::text, $12::text, $13::text, $14::text,
	$15::text)`

func returned(ctx context.Context, tx outbox.Tx, task queuelink.Carried) (settled bool, err error) {
	t, err := usable(ctx, tx, "returned")
	if err != nil {
		return false, err
	}
	var metadata *string
	if json.Valid(task.Metadata) {
		doc := string(task.Metadata)
		metadata = &doc
	}
	text, stack := core.CleanText(task.Error, core.MaxErrorBytes), core.CleanText(task.Stack, core.MaxErrorBytes)
	args := []any{task.ID, task.Queue, string(task.Payload), metadata, task.CreatedAt, task.DueAt,
		*millis[int32](&task.Timeout), task.Attempt, task.MaxAttempts, task.Priority, task.DedupKey, task.CustomerKey,
		text, stack, core.CleanText(task.Name, core.MaxErrorBytes)}
	err = queryEach(ctx, t, sqlReturned, args, func(rows core.Rows) error { return rows.Scan(&settled) })
	return settled, err
}
