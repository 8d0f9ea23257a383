package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Claim is a handful of tasks claimed without a worker, for a loop of the caller's own: without
// Box.Run, Worker and middleware (what middleware did to payloads is undone). It has a lease: when
// Heartbeat has not been called for the VisibilityTimeout, any running Box gives its tasks to
// others, and the methods return ErrLeaseLost. It is safe for use by several goroutines.
type Claim[T any] struct {
	// Tasks are those that were claimed, highest priority first; none where nothing was pending.
	Tasks []Task[T]

	claim *manualClaim
}

// manualNumber is the number of the one claim of a manual claim's lease.
const manualNumber = 1

// manualClaim is a Claim without its type.
type manualClaim struct {
	def    *definition
	host   core.Host
	worker int64
	opts   workerOptions
	writer *outcomeWriter
	judge  *judge

	limits inForce

	counted   *counted
	claimedAt time.Time // by the database's clock
	began     time.Time // the same by this process's

	mu   sync.Mutex
	left map[int64]*job
}

// Claim claims up to n pending tasks, with a lease of their own. It does not look at a pause, and
// does not wait: poll, or use Worker. The tasks of which payload cannot be decoded become dead
// letters. End each task with Complete, Fail or Snooze, and the claim with Release. Of the options
// it takes VisibilityTimeout and Retry.
func (q *Queue[T]) Claim(ctx context.Context, box *outbox.Box, n int, opts ...WorkerOption) (*Claim[T], error) {
	host, err := q.host(box, "claim")
	if err != nil {
		return nil, err
	}
	h := newManualClaim(q.def, host, opts)
	problems := append(h.opts.problems(), checkRange("the number of tasks", n, 1, maxClaimed))
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("strunk/queue: claim: queue %q: %w: %w", q.Name(), err, ErrInvalid)
	}
	if _, err = h.cancelRequests(ctx); err != nil { // tasks that are to be cancelled are not claimed
		return nil, fmt.Errorf("strunk/queue: claim: queue %q: %w", q.Name(), err)
	}
	jobs, err := h.claim(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: claim: queue %q: %w", q.Name(), err)
	}
	c := &Claim[T]{claim: h}
	chain := middlewares(host, q.def.cfg.Middleware)
	for _, j := range jobs {
		h.left[j.id] = j
		h.counted.beganAt(j, h.claimedAt)
		task, err := Task[T]{}, readThrough(ctx, j, chain)
		if err == nil {
			task, err = taskOf[T](j)
		}
		j.deadline.begin() // unless it is given back by Release
		if j.deadline.passed() {
			err = h.end(ctx, "claim", outcome{job: j, kind: outcomeLate})
		} else if err != nil {
			err = h.end(ctx, "claim", dead(j, err))
		} else {
			c.Tasks = append(c.Tasks, task)
		}
		if err != nil {
			return nil, errors.Join(err, c.Release(context.WithoutCancel(ctx)))
		}
	}
	return c, nil
}

func newManualClaim(def *definition, host core.Host, opts []WorkerOption) *manualClaim {
	h := &manualClaim{def: def, host: host, worker: rand.Int64N(1<<62) + 1, opts: newWorkerOptions(def, opts),
		left: map[int64]*job{}}
	h.writer = newOutcomeWriter(context.Background(), host, def, h.worker)
	h.judge = newJudge(def, h.opts, false, host.Logger())
	h.counted = newCounted(host, def.name)
	return h
}

// sqlAddManual makes the lease row of a manual claim, and returns the database's time.
const sqlAddManual = `INSERT INTO {schema}.strunk_workers (id, lease_ms, pid, concurrency, queue, host,
	release, library) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING pg_catalog.clock_timestamp()`

// claim makes the lease and claims under it in one transaction, which leaves nothing where there is nothing to claim.
func (h *manualClaim) claim(ctx context.Context, n int) (jobs []*job, err error) {
	err = core.RetryConflicts(ctx, func() error {
		return pgx.BeginTxFunc(ctx, h.host.Pool(), core.PlainTx, func(tx pgx.Tx) error {
			if err := h.lockAdmission(ctx, tx); err != nil {
				return err
			}
			err := tx.QueryRow(ctx, h.host.SQL(sqlAddManual), h.worker, h.opts.lease.Milliseconds(), os.Getpid(), n,
				h.def.name, hostName(), core.Release(), core.LibraryVersion()).Scan(&h.claimedAt)
			if err != nil {
				return err
			}
			h.began = time.Now()
			jobs, err = h.claimWithin(ctx, tx, n)
			if err == nil && len(jobs) == 0 {
				return errNothing
			}
			return err
		})
	})
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	return jobs, err
}

const (
	// sqlIdle bounds how long a transaction may be idle, in ms: a frozen process must not keep the admission lock.
	sqlIdle = `SELECT set_config('idle_in_transaction_session_timeout', $1, true)`
	// sqlLockAdmission takes the admission lock of queue $1: a change of limits then sees the lease
	// and what it has claimed.
	sqlLockAdmission = `SELECT {schema}.strunk_lock_admission($1::text)`
	// maxManualSweeps bounds the keys that a manual claim looks at.
	maxManualSweeps = 20
)

func (h *manualClaim) lockAdmission(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, sqlIdle, fmt.Sprint(h.opts.lease.Milliseconds())); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, h.host.SQL(sqlLockAdmission), h.def.name)
	return err
}

// claimWithin claims as the limits of the queue let it.
func (h *manualClaim) claimWithin(ctx context.Context, tx pgx.Tx, n int) ([]*job, error) {
	rows, err := tx.Query(ctx, h.host.SQL(sqlLimits), h.def.name)
	if err != nil {
		return nil, err
	}
	if err := scanLimits(rows, &h.limits); err != nil {
		return nil, err
	}
	if h.limits.bounded {
		if err := tx.QueryRow(ctx, h.host.SQL(sqlTakeQuota), h.worker, h.def.name, 0, n).Scan(&n); err != nil ||
			n == 0 {
			return nil, err
		}
	}
	if err := h.admit(ctx, tx, n); err != nil {
		return nil, err
	}
	zero := make([]int64, levels)
	sql, args := sqlClaim, []any{h.worker, manualNumber, h.def.name, n, zero, nil, h.limits.version, maxClaimedBytes,
		0, 0, nil, 0}
	if h.limits.rated() {
		sql, args = sqlClaimRated, args[:8]
	}
	if rows, err = tx.Query(ctx, h.host.SQL(sql), args...); err != nil {
		return nil, err
	}
	jobs, err := h.scan(rows)
	if err == nil && h.limits.bounded && len(jobs) < n { // the rest of the quota is for others
		_, err = tx.Exec(ctx, h.host.SQL(sqlTakeQuota), h.worker, h.def.name, len(jobs), len(jobs))
	}
	return jobs, err
}

// admit admits about n tasks with customer keys.
func (h *manualClaim) admit(ctx context.Context, tx pgx.Tx, n int) error {
	after, all := "", int64(0)
	for range maxManualSweeps {
		var last *string
		var admitted int64
		if err := tx.QueryRow(ctx, h.host.SQL(sqlSweep), h.def.name, after, sweptAtOnce, 0).Scan(&last,
			&admitted); err != nil {
			return err
		}
		if all += admitted; last == nil || all >= int64(n) {
			break
		}
		after = *last
	}
	if h.limits.Fair {
		return h.takeTurns(ctx, tx, n)
	}
	return nil
}

// sqlTakeTurns admits about $3 tasks of queue $1, whose limits are of version $2, in the order of their turns; it looks
// at no arrivals.
const sqlTakeTurns = `SELECT admitted, more FROM {schema}.strunk_admit($1::text, $2::bigint, NULL, 9223372036854775807,
	NULL, 1, 0, 0, 0, $3::integer)`

// takeTurns admits up to n tasks of keys that have turns.
func (h *manualClaim) takeTurns(ctx context.Context, tx pgx.Tx, n int) error {
	for more := true; more && n > 0; {
		var admitted int
		err := tx.QueryRow(ctx, h.host.SQL(sqlTakeTurns), h.def.name, h.limits.version, n).Scan(&admitted, &more)
		if err != nil {
			return err
		}
		n -= admitted
	}
	return nil
}

func (h *manualClaim) scan(rows pgx.Rows) (jobs []*job, err error) {
	defer rows.Close()
	row := newJobRow()
	for rows.Next() {
		j := &job{claim: manualNumber, queue: h.def.name, logger: h.host.Logger()}
		if err := row.scan(rows, j, h.opts.timeout); err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, rows.Err()
}

var errNothing = errors.New("nothing to claim")

// sqlRenew renews the lease of worker $1, and says whether it had one.
const sqlRenew = `SELECT EXISTS (SELECT 1 FROM {schema}.strunk_heartbeat(ARRAY[$1::bigint]))`

// Heartbeat renews the lease of all tasks of the claim.
func (c *Claim[T]) Heartbeat(ctx context.Context) error {
	held, err := core.WriteValue[bool](ctx, c.claim.host.Pool(), c.claim.host.SQL(sqlRenew), c.claim.worker)
	if err == nil && !held && len(c.Tasks) > 0 {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: heartbeat: queue %q: %w", c.claim.def.name, err)
	}
	return nil
}

// Complete ends a task as delivered. Errors: [ErrLeaseLost] where it is not this claim's (any more), also after a call
// whose answer was lost and that had succeeded.
func (c *Claim[T]) Complete(ctx context.Context, id int64) error {
	return c.claim.end(ctx, "complete", outcome{job: c.claim.jobOrUnknown(id), kind: outcomeComplete})
}

// Fail ends an attempt: the task is tried again as the retry policy says, or becomes a dead letter
// where its attempts are spent or cause is an ErrPoison. A Discard discards it. A Snooze puts it off without
// spending the attempt. A task that somebody has asked to cancel is cancelled.
func (c *Claim[T]) Fail(ctx context.Context, id int64, cause error) error {
	h := c.claim
	j := h.job(id)
	if j == nil || cause == nil {
		return fmt.Errorf("strunk/queue: fail: queue %q, task %d: it is not this claim's, or the cause is nil: %w",
			h.def.name, id, ErrInvalid)
	}
	return h.fail(ctx, j, cause)
}

// Report records how far a task has come, as the function Report does in a handler.
func (c *Claim[T]) Report(ctx context.Context, id int64, percent int, message string) error {
	if err := errors.Join(checkRange("percent", percent, 0, 100), core.CheckText(message)); err != nil {
		return fmt.Errorf("strunk/queue: report: %w: %w", err, ErrInvalid)
	}
	return c.claim.fence().report(ctx, &job{id: id, claim: manualNumber, queue: c.claim.def.name}, percent, message)
}

// sqlReleaseManual gives up the lease of a manual claim; what is left of its tasks goes back.
const sqlReleaseManual = `SELECT {schema}.strunk_release_claim($1::bigint)`

// Release ends the claim. Tasks that have not been ended are pending again, their attempts not
// spent. After the first call it does nothing.
func (c *Claim[T]) Release(ctx context.Context) error {
	back, err := core.WriteValue[int](ctx, c.claim.host.Pool(), c.claim.host.SQL(sqlReleaseManual), c.claim.worker)
	if err != nil {
		return fmt.Errorf("strunk/queue: release: queue %q: %w", c.claim.def.name, err)
	}
	if back > 0 {
		c.claim.host.Wake(core.TopicQueue(c.claim.def.name))
	}
	return nil
}

// job returns a task of the claim that has not been ended; nil for another.
func (h *manualClaim) job(id int64) *job {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.left[id]
}

// jobOrUnknown returns one for another task, too: the database decides what becomes of it.
func (h *manualClaim) jobOrUnknown(id int64) *job {
	if j := h.job(id); j != nil {
		return j
	}
	return &job{id: id, claim: manualNumber, queue: h.def.name}
}

// end writes one outcome.
func (h *manualClaim) end(ctx context.Context, what string, o outcome) error {
	j := o.job
	sql, args := h.writer.statement(o.kind, []outcome{o}, false)
	done, err := h.writer.change(ctx, sql, args)
	if err == nil && !slices.Contains(done, j.id) {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: %s: queue %q, task %d: %w", what, h.def.name, j.id, err)
	}
	h.counted.settled([]outcome{o}, done)
	h.counted.ran(j, time.Since(h.began))
	h.mu.Lock()
	delete(h.left, j.id)
	left := len(h.left)
	h.mu.Unlock()
	h.release(ctx, j, left)
	if o.kind == outcomeRetry {
		h.host.Wake(core.TopicQueue(h.def.name), core.TopicDue)
	} else if h.def.results {
		h.host.Wake(core.TopicResult(h.def.name))
	}
	return nil
}

// release leaves to others what an ended task has used of the limits. Where it fails a worker's
// sweep makes up for it, or the end of the claim: the outcome stands.
func (h *manualClaim) release(ctx context.Context, j *job, left int) {
	var err error
	if j.key != "" {
		err = core.Write(ctx, h.host.Pool(), core.Statement{SQL: h.host.SQL(sqlAdmitReleased),
			Args: []any{h.def.name, []string{j.key}}})
	}
	if h.limits.bounded {
		err = errors.Join(err, core.Write(ctx, h.host.Pool(), core.Statement{SQL: h.host.SQL(sqlTakeQuota),
			Args: []any{h.worker, h.def.name, left, left}}))
	}
	if err != nil {
		h.host.Logger().Warn("strunk: releasing the slot of a task failed", "queue", h.def.name, "task", j.id,
			"error", err)
		return
	}
	if j.key != "" || h.limits.bounded {
		h.host.Wake(core.TopicQueue(h.def.name))
	}
}
