package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// BatchState is what has become of a batch and of its members. It is also the state that [FollowUpEvent] publishes.
type BatchState struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	// Added is how many members were added. Each that has ended counts under one of the next five, by its ending; a
	// dead letter that is retried counts as not ended until it ends again.
	Added int64 `json:"added"`
	Done  int64 `json:"done"`
	// Dead, Cancelled and Discarded stay as they are when such a task is purged, or its retention is over.
	Dead      int64 `json:"dead"`
	Cancelled int64 `json:"cancelled"`
	Discarded int64 `json:"discarded"`
	// Deleted is how many a person deleted before they had ended.
	Deleted int64 `json:"deleted"`
	// FollowUpID is the id that the follow-up has once the batch is finished; 0 without one.
	FollowUpID int64     `json:"follow_up_id,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
	// ClosedAt, CancelledAt and FinishedAt are zero before. A finished batch stays finished, and its follow-up comes no
	// second time, also where a dead letter is retried afterwards: its counts then change.
	ClosedAt    time.Time `json:"closed_at,omitzero"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
}

// Ended is how many members have ended.
func (s BatchState) Ended() int64 { return s.Done + s.Dead + s.Cancelled + s.Discarded + s.Deleted }

// Open is how many members have not ended.
func (s BatchState) Open() int64 { return s.Added - s.Ended() }

// Bounds of how many batches, and members of one, a page has.
const (
	DefaultBatchLimit = 100
	MaxBatchLimit     = 1000
)

// BatchFilter chooses batches; the zero value chooses the newest DefaultBatchLimit of all.
type BatchFilter struct {
	// Unfinished leaves out those that are finished.
	Unfinished bool
	// Before is the id of the last batch of the page before; zero for the first page.
	Before int64
	// Limit is how many to return, at most MaxBatchLimit; zero means DefaultBatchLimit.
	Limit int
}

const (
	batchColumns = `id, name, coalesce(follow_up_id, 0), created_at, coalesce(closed_at, '0001-01-01Z'),
	coalesce(cancelled_at, '0001-01-01Z'), coalesce(finished_at, '0001-01-01Z'), added, done, dead, cancelled,
	discarded, deleted`
	// sqlBatches reads up to $3 batches with ids below $1 (0: any); with $2 only those that are not finished.
	sqlBatches = `SELECT ` + batchColumns + ` FROM {schema}.strunk_batch_states(NULL, nullif($1::bigint, 0),
	$2::boolean, $3::integer)`
	// sqlBatchState reads batch $1.
	sqlBatchState = `SELECT ` + batchColumns + ` FROM {schema}.strunk_batch_states(ARRAY[$1::bigint])`
	// sqlBatchMembers reads up to $3 members of batch $1 with ids above $2.
	sqlBatchMembers = `SELECT id, coalesce(queue, ''), coalesce(status, '')
FROM {schema}.strunk_batch_members($1::bigint, $2::bigint, $3::integer)`
)

// Batches returns batches with their counts of this moment, the newest first. Errors: [ErrInvalid].
func Batches(ctx context.Context, box *outbox.Box, f BatchFilter) ([]BatchState, error) {
	n, err := batchLimit(f.Limit)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: batches: %w", err)
	}
	return readBatches(ctx, box, "batches", scanBatch, sqlBatches, f.Before, f.Unfinished, n)
}

// State returns what has become of the batch, up to this moment. A finished batch is kept as long as the tasks that are
// kept longest. Errors: [ErrNoBatch].
func (b Batch) State(ctx context.Context, box *outbox.Box) (s BatchState, err error) {
	all, err := readBatches(ctx, box, "batch state", scanBatch, sqlBatchState, b.ID)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("strunk/queue: batch state: batch %d: %w", b.ID, ErrNoBatch)
	}
	if err != nil {
		return s, err
	}
	return all[0], nil
}

// BatchMember is a task of a batch.
type BatchMember struct {
	ID int64 `json:"id"`
	// Queue and Status are empty where the task is kept no longer.
	Queue  string `json:"queue,omitempty"`
	Status Status `json:"status,omitempty"`
}

// Members returns up to limit members with ids above after, in the order of their ids; limit zero means
// DefaultBatchLimit, and MaxBatchLimit is the most. Errors: [ErrInvalid].
func (b Batch) Members(ctx context.Context, box *outbox.Box, after int64, limit int) ([]BatchMember, error) {
	n, err := batchLimit(limit)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: batch members: %w", err)
	}
	return readBatches(ctx, box, "batch members", scanMember, sqlBatchMembers, b.ID, after, n)
}

func batchLimit(n int) (int, error) {
	if n == 0 {
		return DefaultBatchLimit, nil
	}
	if err := checkRange("the limit", n, 1, MaxBatchLimit); err != nil {
		return 0, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return n, nil
}

func readBatches[T any](ctx context.Context, box *outbox.Box, what string, scan pgx.RowToFunc[T], sql string,
	args ...any) ([]T, error) {
	if box == nil {
		return nil, fmt.Errorf("strunk/queue: %s: the box is nil: %w", what, ErrInvalid)
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sql), args...)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	return all, nil
}

func scanBatch(row pgx.CollectableRow) (s BatchState, err error) {
	err = row.Scan(&s.ID, &s.Name, &s.FollowUpID, &s.CreatedAt, &s.ClosedAt, &s.CancelledAt, &s.FinishedAt, &s.Added,
		&s.Done, &s.Dead, &s.Cancelled, &s.Discarded, &s.Deleted)
	return s, err
}

func scanMember(row pgx.CollectableRow) (m BatchMember, err error) {
	return m, row.Scan(&m.ID, &m.Queue, &m.Status)
}
