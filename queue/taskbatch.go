package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Batch is tasks of any queues whose endings are counted together. A follow-up, a task or a state
// event, comes once when all have ended. Make one with [NewBatch], add members with [InBatch], and
// close it: until then it does not finish. A member counts exactly once, by how it ended, whatever is
// killed and whatever runs twice.
type Batch struct {
	// ID is the batch's id.
	ID int64
}

// BatchOption changes one batch.
type BatchOption interface{ applyBatch(*batchSettings) }

type batchSettings struct {
	followUp  *Item
	eventType *string
}

type batchOption func(*batchSettings)

func (f batchOption) applyBatch(s *batchSettings) { f(s) }

// FollowUp has a task enqueued when all members have ended, in the transaction that marks the batch finished: once,
// however they ended. Its handler reads what became of them with [BatchOf] and [Batch.State]. Its due time is counted
// from when the batch was made. A dedup key that another task holds by then is given up.
func FollowUp(item Item) BatchOption {
	return batchOption(func(s *batchSettings) { s.followUp = &item })
}

// FollowUpEvent has the state of the batch, a [BatchState], published when all members have ended, in the transaction
// that marks the batch finished. The entity's type is entityType, its id the batch's.
func FollowUpEvent(entityType string) BatchOption {
	return batchOption(func(s *batchSettings) { s.eventType = &entityType })
}

// InBatch adds the tasks of an enqueue to a batch. A duplicate ([Enqueued]) is not added. Members may
// be added until the batch is finished or cancelled, so also by the handler of a member: a member that
// runs keeps its batch from finishing. Where the batch takes none, the enqueue returns
// [ErrBatchEnded]. All tasks of one call must be of one batch.
func InBatch(b Batch) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) { o.batch = b.ID })
}

// sqlCreateBatch makes a batch of name $1 with the follow-up $2 and the event type $3; either may be null.
const sqlCreateBatch = `SELECT {schema}.strunk_create_batch($1::text, $2::bigint, $3::text)`

// NewBatch makes an open batch in the transaction. The name is for people, 1 to 200 bytes; it need not be unique.
// Errors: [ErrInvalid], and those of an enqueue for the follow-up.
func NewBatch(ctx context.Context, tx outbox.Tx, name string, opts ...BatchOption) (b Batch, err error) {
	const what = "new batch"
	var s batchSettings
	for _, opt := range opts {
		if opt != nil {
			opt.applyBatch(&s)
		}
	}
	if err = s.check(name); err != nil {
		return b, fmt.Errorf("strunk/queue: %s: %w: %w", what, err, ErrInvalid)
	}
	t, err := usable(ctx, tx, what)
	if err != nil {
		return b, err
	}
	var followUp *int64
	if s.followUp != nil {
		if followUp, err = enqueueFollowUp(ctx, tx, *s.followUp); err != nil {
			return b, err
		}
	}
	err = t.Query(ctx, t.Host().SQL(sqlCreateBatch), []any{name, followUp, s.eventType}, oneValue(&b.ID))
	if err != nil {
		return b, fmt.Errorf("strunk/queue: %s: %w", what, err)
	}
	return b, nil
}

func (s *batchSettings) check(name string) error {
	if err := core.CheckName(name); err != nil {
		return fmt.Errorf("the batch's name %w", err)
	}
	if s.eventType == nil {
		return nil
	}
	if err := core.CheckName(*s.eventType); err != nil {
		return fmt.Errorf("FollowUpEvent: the entity type %w", err)
	}
	return nil
}

// enqueueFollowUp enqueues the task that sqlCreateBatch takes out of its queue again.
func enqueueFollowUp(ctx context.Context, tx outbox.Tx, item Item) (*int64, error) {
	done, err := enqueue(ctx, tx, "new batch: the follow-up", []Item{item})
	if err != nil {
		return nil, err
	}
	if done[0].Duplicate {
		return nil, fmt.Errorf("strunk/queue: new batch: the follow-up's dedup key is held by task %d: %w", done[0].ID,
			ErrInvalid)
	}
	return &done[0].ID, nil
}

// oneValue scans a statement's one value.
func oneValue(into any) func(core.Rows) error {
	return func(rows core.Rows) error {
		for rows.Next() {
			if err := rows.Scan(into); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// toBatch is a statement that enqueues, for members of the batch that is its first parameter.
func toBatch(sql string) string {
	if sql == sqlEnqueueDedup {
		return sqlEnqueueDedupInBatch
	}
	return sqlEnqueueInBatch
}

const (
	// sqlEnqueueInBatch is sqlEnqueue for members of batch $1, with its parameters from $2 on.
	sqlEnqueueInBatch = `SELECT ord, id, duplicate FROM {schema}.strunk_enqueue_in_batch($1::bigint, $2::text[],
	$3::text[], $4::smallint[], $5::smallint[], $6::bigint[], $7::timestamptz[], $8::text[], $9::integer[],
	$10::text[], $11::boolean, $12::text[])`
	// sqlEnqueueDedupInBatch is sqlEnqueueDedup for members of batch $1, with its parameters from $2 on.
	sqlEnqueueDedupInBatch = `SELECT ord, id, duplicate, replaced FROM {schema}.strunk_enqueue_dedup_in_batch(
	$1::bigint, $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::bigint[], $7::timestamptz[], $8::text[],
	$9::integer[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::boolean, $15::text[])`
)

// sqlCloseBatch closes batch $1; false where there is none.
const sqlCloseBatch = `SELECT {schema}.strunk_close_batch($1::bigint)`

// Close has the batch finish as soon as all its members have ended; at once where it has none that has not. Close a
// batch once its first members are added, best in the same transaction. Errors: [ErrNoBatch].
func (b Batch) Close(ctx context.Context, tx outbox.Tx) error {
	const what = "close batch"
	t, err := usable(ctx, tx, what)
	if err != nil {
		return err
	}
	var there bool
	if err = t.Query(ctx, t.Host().SQL(sqlCloseBatch), []any{b.ID}, oneValue(&there)); err == nil && !there {
		err = ErrNoBatch
	}
	if err != nil {
		return fmt.Errorf("strunk/queue: %s: batch %d: %w", what, b.ID, err)
	}
	t.Wake(core.TopicDue)
	return nil
}

// BatchCancelled says what [Batch.Cancel] has done.
type BatchCancelled struct {
	// Cancelled is how many members were waiting and are cancelled now.
	Cancelled int64
	// Cancelling is how many are running and were asked to stop, see [Queue.Cancel].
	Cancelling int64
}

const (
	// sqlCancelBatch cancels up to $4 members of batch $1 with ids above $3, for reason $2.
	sqlCancelBatch = `SELECT last_id, cancelled, cancelling
FROM {schema}.strunk_cancel_batch($1::bigint, $2::text, $3::bigint, $4::integer)`
	// cancelChunk bounds the members that one transaction cancels.
	cancelChunk = 1000
)

// Cancel cancels all members that have not ended, as [Queue.Cancel] does one, and closes the batch: it takes no more,
// and finishes, follow-up included, when those that run have ended. It cancels a thousand at a time: where it
// fails it has cancelled some, and may be called again. Errors: [ErrNoBatch].
func (b Batch) Cancel(ctx context.Context, box *outbox.Box, reason string) (all BatchCancelled, err error) {
	if box == nil {
		return all, fmt.Errorf("strunk/queue: cancel batch: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	text := core.CleanText(reason, core.MaxErrorBytes)
	for after := new(int64); after != nil; {
		c := cancelledPage{}
		err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlCancelBatch),
			Args: []any{b.ID, text, *after, cancelChunk}, Scan: c.scan})
		if err == nil && !c.there {
			err = ErrNoBatch
		}
		if err != nil {
			return all, fmt.Errorf("strunk/queue: cancel batch: batch %d: %w", b.ID, err)
		}
		all.Cancelled += c.cancelled
		all.Cancelling += c.cancelling
		after = c.last
	}
	host.WakeLocal(core.TopicDue)
	return all, nil
}

// cancelledPage is the answer of sqlCancelBatch.
type cancelledPage struct {
	there                 bool
	last                  *int64
	cancelled, cancelling int64
}

func (c *cancelledPage) scan(rows pgx.Rows) error {
	*c = cancelledPage{}
	for rows.Next() {
		c.there = true
		if err := rows.Scan(&c.last, &c.cancelled, &c.cancelling); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sqlBatchOf finds the batch of task $1.
const sqlBatchOf = `SELECT {schema}.strunk_batch_of($1::bigint)`

// BatchOf returns the batch of a task that has not ended: the one that the task follows up, else the one that it is a
// member of. Errors: [ErrNoBatch].
func BatchOf(ctx context.Context, box *outbox.Box, task int64) (b Batch, err error) {
	if box == nil {
		return b, fmt.Errorf("strunk/queue: batch of: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	var id *int64
	if err = host.Pool().QueryRow(ctx, host.SQL(sqlBatchOf), task).Scan(&id); err == nil && id == nil {
		err = ErrNoBatch
	}
	if err != nil {
		return b, fmt.Errorf("strunk/queue: batch of: task %d: %w", task, err)
	}
	return Batch{ID: *id}, nil
}
