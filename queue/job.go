package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// job is a claimed task without its type.
type job struct {
	id, seq, claim        int64
	queue                 string
	createdAt, dueAt      time.Time
	arrived               time.Time // when the answer to its claim was read, by this process's clock
	timeout               time.Duration
	ownTimeout            time.Duration // the one it was enqueued with; 0 for none
	attempt, maxAttempts  int
	priority              int
	dedupKey              string
	key                   string // for the limits per key
	payload, metadataJSON []byte
	size                  int64      // of the payload as it was claimed
	at                    pgtype.TID // where the claim left the row
	logger                *slog.Logger
	fence                 *fence  // nil outside a worker
	holder                *holder // nil outside a worker
	remote                bool    // it is handled where no database is

	// result is the handler's result, as JSON; nil where its queue has no results.
	result *string
	// settled says that the handler's own transaction has completed the task.
	settled bool
	// possiblyStarted says that a worker died while the task had started, or may have.
	possiblyStarted bool
	// passed says that the task has started, or was given back: see starter.pass.
	passed atomic.Bool
	// begun says that a handler has begun it: see counted.
	begun bool
	// logged says that the box's log holds the error of the attempt already.
	logged atomic.Bool

	steps stepNames
	// deadline is until when the task may begin; nil for ever.
	deadline *deadline
	state    jobState
	inBatch  inBatch
}

// jobState says who settles a job: the handler's return, or the watch that has abandoned the handler.
type jobState struct {
	taken    atomic.Int32 // by whom; 0 while by nobody
	deadline atomic.Int64 // unix nanoseconds of the handler's timeout
	// cancelled is set when the task is to be cancelled while its handler runs.
	cancelled atomic.Pointer[cancelled]
	// open are the transactions that strunk has begun and the handler may still use.
	open openTxs
}

const (
	byHandler int32 = iota + 1
	byWatch
)

// abandon closes what strunk has opened for the job's handler, which did not return.
func (st *jobState) abandon() { st.open.drop() }

// take returns true for the first caller.
func (st *jobState) take(by int32) bool { return st.taken.CompareAndSwap(0, by) }

// abandoned reports whether the watch has settled the job because its handler did not return.
func (st *jobState) abandoned() bool { return st.taken.Load() == byWatch }

// work handles a job. It is the one place where a queue's type is erased.
type work func(ctx context.Context, j *job) error

func typedWork[T any](handler Handler[T]) work {
	if handler == nil {
		return nil
	}
	return func(ctx context.Context, j *job) error {
		task, err := taskOf[T](j)
		if err != nil {
			return err
		}
		return handler(ctx, task)
	}
}

// taskOf gives a job its type.
func taskOf[T any](j *job) (Task[T], error) {
	task := Task[T]{ID: j.id, Queue: j.queue, Attempt: j.attempt, MaxAttempts: j.maxAttempts, Priority: j.priority,
		CreatedAt: j.createdAt, DueAt: j.dueAt, DedupKey: j.dedupKey, CustomerKey: j.key, Fence: j.seq}
	if err := decode(j.payload, &task.Payload); err != nil {
		return task, err
	}
	return task, decode(j.metadataJSON, &task.Metadata)
}

func decode(doc []byte, into any) error {
	if doc == nil {
		return nil
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("strunk/queue: %w into %s: %w", ErrPoison,
			strings.TrimPrefix(fmt.Sprintf("%T", into), "*"), err)
	}
	return nil
}

// jobRow reads the rows of a claim, one after the other, into the same variables: a claim has up to a
// thousand rows, and a variable of its own for each column of each would cost more than decoding it.
type jobRow struct {
	created, due                    finite
	timeoutMS                       *int32
	dedup, customer                 *string
	possiblyStarted                 *bool
	beginInMS                       *int64
	attempts, maxAttempts, priority int16

	targets [15]any
}

func newJobRow() *jobRow {
	r := &jobRow{}
	r.targets = [15]any{nil, nil, &r.created, &r.due, &r.timeoutMS, &r.attempts, &r.maxAttempts, &r.priority,
		&r.dedup, nil, nil, nil, &r.customer, &r.possiblyStarted, &r.beginInMS}
	return r
}

// scan reads the row. The time-out is for tasks without one of their own.
func (r *jobRow) scan(rows pgx.Row, j *job, timeout time.Duration) error {
	r.targets[0], r.targets[1] = &j.id, &j.seq
	r.targets[9], r.targets[10], r.targets[11] = &j.payload, &j.metadataJSON, &j.at
	if err := rows.Scan(r.targets[:]...); err != nil {
		return err
	}
	if r.beginInMS != nil {
		j.deadline = newDeadline(*r.beginInMS)
	}
	j.size = int64(len(j.payload))
	j.key, j.possiblyStarted = orElse(r.customer, ""), orElse(r.possiblyStarted, false)
	j.attempt, j.maxAttempts, j.priority = int(r.attempts), int(r.maxAttempts), int(r.priority)
	j.createdAt = orElse(r.created.t, time.Time{})
	j.dueAt, j.dedupKey, j.timeout = orElse(r.due.t, j.createdAt), orElse(r.dedup, ""), timeout
	if r.timeoutMS != nil {
		j.ownTimeout = time.Duration(*r.timeoutMS) * time.Millisecond
		j.timeout = j.ownTimeout
	}
	return nil
}

// finite is a time that may be missing. The value infinity, which a person can set and no time.Time can hold, counts as
// missing: otherwise the row could not be read, and its whole claim not be worked.
type finite struct{ t *time.Time }

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (f *finite) ScanTimestamptz(v pgtype.Timestamptz) error {
	if f.t = nil; v.Valid && v.InfinityModifier == pgtype.Finite {
		f.t = &v.Time
	}
	return nil
}

func orElse[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
