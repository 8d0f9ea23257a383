package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// starter decides which claimed tasks the executor may start. It writes ahead, in strunk_starts, how far the worker may
// start them, many tasks at a time; and soon after how far it has started them. So the rescue of a worker that was
// killed knows which tasks had started: an attempt is spent by a handler that started, and by nothing else.
//
// A task that may have started, but is not known to have, costs no attempt. It is possibly started
// from then on: it starts alone, so that its next crash counts, and counts for no other task.
//
// A task reaches the buffer from starts.claimed, where its claim has let it start, or else from starts.sent, after a
// write.
type starter struct {
	end      context.Context // of all statements
	rt       core.Runtime
	queue    string
	worker   int64
	starts   *starts
	buffer   *prefetch
	passage  *passage
	giveBack func(*job) // for tasks that may not start yet
	heldUp   func()     // is called while a task that must start alone waits for tasks that have not started
	carries  bool       // no task counts as started: nothing is written

	wake chan struct{} // signalled when there may be something to write
	done chan struct{} // closed by close
}

func newStarter(end context.Context, rt core.Runtime, w *worker, lease int64, l *latency, b *prefetch) *starter {
	return &starter{end: end, rt: rt, queue: w.def.name, worker: lease, buffer: b, carries: w.carries,
		starts: newStarts(w.opts.concurrency, w.batch != nil || w.permits != nil, l, b),
		wake:   make(chan struct{}, 1), done: make(chan struct{})}
}

// beforeClaim returns the allowance of a claim that brings so many shared slots. The caller calls claimed, or
// claimFailed, with the answer.
func (s *starter) beforeClaim(slots int) allowance {
	if s.carries {
		return allowance{}
	}
	return s.starts.beforeClaim(slots)
}

func (s *starter) claimFailed() { s.starts.claimFailed() }

// claimed hands on the tasks of a claim, in the order of their positions.
func (s *starter) claimed(jobs []*job, a allowance) {
	s.buffer.claimed(jobs)
	if s.carries {
		s.buffer.put(jobs)
	} else if s.starts.claimed(jobs, a) {
		signal(s.wake)
	}
}

// pass marks a task as passed, which is started or given back: the position up to which tasks have started, as
// strunk_starts has it, may move beyond it.
func (s *starter) pass(j *job) {
	if j.passed.Load() {
		return
	}
	if j.passed.Store(true); s.starts.firstAfterQuiet() {
		signal(s.wake)
	}
	s.nudge()
}

// nudge is called when a task starts or ends.
func (s *starter) nudge() {
	if s.starts.few() {
		signal(s.wake)
	}
}

// slotDealt is called when a task that was claimed ahead may have got a slot: it may be one that waits here.
func (s *starter) slotDealt() { signal(s.wake) }

// drop gives back the tasks that may not start yet.
func (s *starter) drop() {
	for _, j := range s.starts.takePending() {
		s.buffer.dropped(false)
		s.giveBack(j)
	}
}

// close ends run, once it has handed on or given back all tasks.
func (s *starter) close() { close(s.done) }

// run allows tasks to start until close, and then closes the buffer.
func (s *starter) run() {
	defer s.buffer.close()
	defer s.drop()
	pause := firstPause
	for !isClosed(s.done) {
		w := s.starts.next()
		if w == nil {
			if s.heldUp != nil && s.starts.heldUp() {
				s.heldUp()
			}
			s.passage.through(startErrand)
			s.await(s.starts.patience())
			continue
		}
		if err := s.send(w); err != nil {
			logWarning(s.rt, s.queue, "writing which tasks may start failed; trying again", err)
			s.starts.undo(w)
			s.await(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = firstPause
		s.starts.sent(w)
	}
}

// await waits for a signal, for close, or for this long; zero is for ever.
func (s *starter) await(wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s.wake:
	case <-over:
	case <-s.done:
	}
}

// sqlAllowStarts writes ahead, as write $2 of worker $1, that its tasks have started up to $3 and
// may start up to $4. It forgets the writes from $5 (null: none) up to $6.
const sqlAllowStarts = `SELECT {schema}.strunk_allow_starts($1::bigint, $2::bigint, $3::bigint[], $4::bigint[],
	$5::bigint, $6::bigint)`

func (s *starter) send(w *write) (err error) {
	s.passage.begin(startErrand)
	defer func() { s.passage.end(startErrand, err) }()
	statements := []core.Statement{{SQL: sqlAsync}, {SQL: s.rt.SQL(sqlAllowStarts),
		Args: []any{s.worker, w.number, w.started[:], w.may[:], w.forget, w.upTo}, Scan: heldLease}}
	if s.rt.Settings().SyncClaims {
		statements = statements[1:]
	}
	ctx, cancel := context.WithTimeout(s.end, claimTimeout)
	defer cancel()
	conn, err := s.rt.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return core.OneMessage(ctx, conn.Conn(), statements...)
}

func heldLease(rows pgx.Rows) error {
	held, err := pgx.CollectOneRow(rows, pgx.RowTo[bool])
	if err == nil && !held {
		err = fmt.Errorf("strunk/queue: start: %w", ErrLeaseLost)
	}
	return err
}
