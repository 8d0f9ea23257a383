package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/cut"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/internal/runtest"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// RequireIdempotent fails the test unless the tables hold the same after a delivery that was interrupted, and was made
// again, as after one that was not. It counts the n statements that the worker's handler sends for the task, and
// interrupts a first delivery 3n times, each time on a fresh copy of the database as it is now:
//
//   - The process is killed after statement 1, 2, … n: the lease is lost, no later statement of that delivery reaches
//     the database, and what it returns counts for nothing. After statement n this is a task that is delivered twice
//     whole.
//   - The connection breaks after the database has executed statement 1, 2, … n, and before the answer. The process
//     lives, and what the handler returns counts.
//   - The process is frozen after statement 1, 2, … n, and goes on when another delivery has ended, or waits for a lock
//     that this one holds. What it returns counts for nothing.
//
// Then the task is delivered, by the worker and a box that run as in production, until it is done. On a difference the
// error names the statement, the table and the rows. The database is left as it was.
//
// The box's pool is one of outboxtest.New, and the handler sends its statements over it, also by database/sql
// (stdlib.OpenDBFromPool), with its context or one derived from it: these are the statements that count. Those of a
// transaction's begin and commit are among them. Nothing else may be connected to the database while RequireIdempotent
// runs; it works on one task after the other, and each of the 3n+2 runs takes some hundred milliseconds.
//
// Of the task the fields Payload, Priority, MaxAttempts (at least 10), CustomerKey, DedupKey and Metadata are
// used: a literal will do, or what [Load] returns. Other tasks of the queue, and those that the handler enqueues, wait.
//
// A table is named as in a statement: "orders", "app.orders". All its columns are compared but those that the database
// fills: identity columns, and those whose default calls a function, such as nextval or now. Other columns that
// differ from run to run, a time or a random key, are left out by naming those to compare: "orders (id, status)". Where
// two runs that nobody interrupts differ, the error says so. Rows have no order. To compare what the handler enqueues,
// name "strunk_tasks (queue, payload)".
//
// What the handler does elsewhere, a payment say, is compared if the test's stand-in for it writes a table. Batch
// workers cannot be tested like this.
func RequireIdempotent[T any](t testing.TB, box *outbox.Box, worker *queue.Worker[T], task queue.Task[T],
	tables ...string) {
	t.Helper()
	x, err := newIdempotence(t.Context(), box, worker, task.Payload, optionsOf(task), tables)
	if err == nil {
		err = x.require()
	}
	if err != nil {
		t.Fatalf("queuetest.RequireIdempotent: %v", err)
	}
}

const (
	// minAttempts leaves attempts for the deliveries after an interruption.
	minAttempts = 10
	// longerThanRun keeps other tasks out of a run.
	longerThanRun = time.Hour
)

// optionsOf returns what a task is enqueued with.
func optionsOf[T any](task queue.Task[T]) []any {
	options := []any{queue.MaxAttempts(max(task.MaxAttempts, minAttempts))}
	if task.Priority != 0 {
		options = append(options, queue.Priority(task.Priority))
	}
	if task.CustomerKey != "" {
		options = append(options, queue.CustomerKey(task.CustomerKey))
	}
	if task.DedupKey != "" {
		options = append(options, queue.DedupKey(task.DedupKey))
	}
	if task.Metadata != nil {
		options = append(options, queue.Metadata(task.Metadata))
	}
	return options
}

// idempotence is one call of RequireIdempotent.
type idempotence struct {
	ctx     context.Context
	box     *outbox.Box
	host    core.Host
	copies  *cut.Copies
	worker  core.Binding
	queue   string
	payload any
	options []any
	tables  []table
}

func newIdempotence(ctx context.Context, box *outbox.Box, worker outbox.Binding, payload any, options []any,
	tables []string) (*idempotence, error) {
	if box == nil {
		return nil, errors.New("the box is nil")
	}
	x := &idempotence{ctx: ctx, box: box, host: core.BoxHost(box), payload: payload, options: options}
	binding, err := core.BindingOf(worker)
	if err != nil {
		return nil, fmt.Errorf("the worker %w", err)
	}
	if err := errors.Join(binding.Prepare(x.host)...); err != nil {
		return nil, err
	}
	x.worker = binding
	_, x.queue = binding.Describe()
	if len(tables) == 0 {
		return nil, errors.New("name the tables that the handler writes")
	}
	for _, name := range tables {
		t, err := newTable(name)
		if err != nil {
			return nil, err
		}
		x.tables = append(x.tables, t)
	}
	database := cut.Of(x.host.Pool())
	if database == nil {
		return nil, errors.New("the box's pool is not one of outboxtest.New: only the statements of those are seen")
	}
	x.copies = database.Copies(x.host.Pool())
	return x, nil
}

// require runs the handler undisturbed and with each interruption.
func (x *idempotence) require() (err error) {
	defer func() { err = errors.Join(err, x.copies.End()) }()
	want, err := x.run(cut.Nothing, 0)
	if err != nil {
		return err
	}
	n := len(want.statements)
	if n == 0 {
		return errors.New("the handler has sent no statement: give those that it sends over the box's pool its context")
	}
	again, err := x.run(cut.Nothing, 0)
	if err != nil {
		return err
	}
	if text := want.differences(again); text != "" {
		return fmt.Errorf("two undisturbed deliveries differ: name the columns that are the same in each, as in "+
			"\"orders (id, status)\"\n%s", text)
	}
	for at := 1; at <= n; at++ {
		for _, kind := range []cut.Kind{cut.Killed, cut.AnswerLost, cut.Frozen} {
			got, err := x.run(kind, at)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", interruption(kind, at, n), err, listed(want.statements, at))
			}
			if text := want.differences(got); text != "" {
				return fmt.Errorf("%s.\nAfter another delivery the tables differ from those of one undisturbed "+
					"delivery (- missing, + too many):\n%s%s", interruption(kind, at, n), text,
					listed(want.statements, at))
			}
		}
	}
	return nil
}

func interruption(kind cut.Kind, at, n int) string {
	switch kind {
	case cut.Killed:
		return fmt.Sprintf("the process was killed after statement %d of %d", at, n)
	case cut.Frozen:
		return fmt.Sprintf("the process was frozen after statement %d of %d, and went on after another delivery", at, n)
	}
	return fmt.Sprintf("the connection broke after statement %d of %d, before the answer", at, n)
}

// listed lists the statements of a handler, and marks one.
func listed(statements []string, at int) string {
	var b strings.Builder
	b.WriteString("the statements of an undisturbed delivery:")
	for i, s := range statements {
		mark := " "
		if i+1 == at {
			mark = ">"
		}
		fmt.Fprintf(&b, "\n%s %d %s", mark, i+1, short(s))
	}
	return b.String()
}

// maxText bounds a statement or a row in an error, in runes.
const maxText = 300

func short(text string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return string(runes)
}

// found is what a run has left.
type found struct {
	status     queue.Status
	statements []string // of the first delivery
	tables     []contents
}

// run has the task delivered until it has ended, on a fresh copy of the database. The first delivery is interrupted.
func (x *idempotence) run(kind cut.Kind, at int) (*found, error) {
	if err := x.copies.Next(x.ctx); err != nil {
		return nil, fmt.Errorf("copy the database, which nobody may be connected to (close transactions and other "+
			"pools, and stop what runs): %w", err)
	}
	d := &deliveries{idempotence: x, kind: kind, at: at, returned: make(chan struct{}), over: make(chan struct{})}
	if err := d.enqueue(); err != nil {
		return nil, err
	}
	worker, err := queuelink.Around(x.worker, d.deliver)
	if err != nil {
		return nil, err
	}
	err = runtest.Run(DrainTimeout, x.box, []outbox.Binding{core.NewBound(func() core.Binding { return worker })},
		d.ended)
	if err != nil {
		return nil, fmt.Errorf("the task is %s: %w", d.found.status, err)
	}
	if kind == cut.Nothing && (d.found.status != queue.StatusDelivered || d.lastError != "") {
		return nil, fmt.Errorf("the handler fails undisturbed, and the task is %s: %s", d.found.status, d.lastError)
	}
	for _, t := range x.tables {
		c, err := t.read(x.ctx, x.host.Pool())
		if err != nil {
			return nil, err
		}
		d.found.tables = append(d.found.tables, c)
	}
	if first := d.first.Load(); first != nil {
		d.found.statements = first.Statements()
	}
	return &d.found, nil
}

// differences says what the other run has left that this one has not, and the other way round; empty for nothing.
func (f *found) differences(other *found) string {
	var b strings.Builder
	if f.status != other.status {
		fmt.Fprintf(&b, "the task is %s instead of %s\n", other.status, f.status)
	}
	for i, c := range f.tables {
		b.WriteString(c.differences(other.tables[i]))
	}
	return b.String()
}

// deliveries are those of one task in one run.
type deliveries struct {
	*idempotence
	kind cut.Kind
	at   int

	id        int64
	first     atomic.Pointer[cut.Attempt]
	returned  chan struct{} // closed when the first delivery has
	over      chan struct{} // closed when the task has ended
	found     found
	lastError string
}

func (d *deliveries) enqueue() error {
	return d.box.InTx(d.ctx, func(tx *outbox.OwnedTx) (err error) {
		d.id, err = queuelink.Enqueue(d.ctx, d.worker, tx, d.payload, d.options)
		return err
	})
}

// deliver is around each attempt.
func (d *deliveries) deliver(ctx context.Context, id int64, next func(context.Context) error) error {
	if id != d.id {
		return queue.Snooze(longerThanRun)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := cut.NewAttempt(d.kind, d.at, func() {
		if d.kind == cut.Frozen {
			d.freeze()
		} else {
			cancel(queue.ErrLeaseLost)
		}
	})
	if !d.first.CompareAndSwap(nil, a) {
		return next(ctx)
	}
	defer close(d.returned)
	defer func() {
		if a.Dead() {
			d.lose(d.ctx)
		}
	}()
	return next(cut.With(ctx, a))
}

const (
	// frozenFor bounds how long a delivery stands still.
	frozenFor = 10 * time.Second
	// look is the time between two looks at what another delivery does meanwhile.
	look = 10 * time.Millisecond
	// blockedLooks is how many looks in a row must find somebody who waits for a lock.
	blockedLooks = 3
)

// sqlBlocked reports whether somebody in the database waits for a lock of a transaction that stands still, as that of a
// frozen delivery does. Maintenance waits for statements that run: those that make partitions, for example.
const sqlBlocked = `SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity w
	CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid)
	JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid
	WHERE w.datname = current_database() AND w.wait_event_type = 'Lock' AND h.state LIKE 'idle in transaction%')`

// freeze takes the lease away and returns when another delivery of the task has ended, or when somebody waits for a
// lock, which the transaction of the frozen delivery may hold.
func (d *deliveries) freeze() {
	ctx, cancel := context.WithTimeout(d.ctx, frozenFor)
	defer cancel()
	go d.lose(ctx) // a guarded transaction keeps the task
	for blocked := 0; blocked < blockedLooks && ctx.Err() == nil; core.Sleep(ctx, look) {
		select {
		case <-d.over:
			return
		default:
		}
		waits := false
		if err := d.host.Pool().QueryRow(ctx, sqlBlocked).Scan(&waits); err != nil {
			return
		}
		if blocked++; !waits {
			blocked = 0
		}
	}
}

// sqlLose takes task $1 from its worker, as the rescue does when the lease is lost: what its handler returns is
// dropped.
const sqlLose = `UPDATE {schema}.strunk_outbox SET status = 'pending' WHERE id = $1::bigint AND kind = 'task'
	AND status = 'claimed'`

func (d *deliveries) lose(ctx context.Context) {
	if _, err := d.host.Pool().Exec(ctx, d.host.SQL(sqlLose), d.id); err != nil {
		d.host.Logger().Warn("strunk: queuetest: the lease could not be taken away", "error", err)
	}
	d.host.Wake(core.TopicQueue(d.queue))
}

const (
	// sqlStatus reads the status and the last error of task $1.
	sqlStatus = `SELECT o.status, coalesce(o.last_error, '') FROM {schema}.strunk_task($1::bigint) o`
	// sqlDue makes task $1 due, which waits for its next attempt.
	sqlDue = `UPDATE {schema}.strunk_tasks SET due_at = created_at WHERE id = $1::bigint AND status = 'scheduled'`
)

// ended reports whether the task has ended. It does not wait for the backoff between attempts.
func (d *deliveries) ended(ctx context.Context, host core.Host) (bool, error) {
	d.found.status = queue.StatusDelivered // and deleted, in a queue that keeps no history
	rows, err := host.Pool().Query(ctx, host.SQL(sqlStatus), d.id)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&d.found.status, &d.lastError); err != nil {
			return false, err
		}
	}
	if rows.Close(); rows.Err() != nil {
		return false, rows.Err()
	}
	switch d.found.status {
	case queue.StatusPending, queue.StatusClaimed:
		return false, nil
	case queue.StatusScheduled:
		_, err := host.Pool().Exec(ctx, host.SQL(sqlDue), d.id)
		return false, err
	}
	select {
	case <-d.over:
	default:
		close(d.over)
	}
	select {
	case <-d.returned:
		return true, nil
	default: // frozen
		return false, nil
	}
}
