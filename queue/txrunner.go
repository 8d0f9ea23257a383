package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// txRunner runs the attempts of handlers in a transaction.
type txRunner struct {
	rt      core.Runtime
	queue   string
	handler workInTx
	level   pgx.TxIsoLevel
	idle    time.Duration // how long the transaction may be idle
	inbox   *inboxMarks   // nil for none
	writer  *outcomeWriter
}

func newTxRunner(rt core.Runtime, w *worker, inbox *inboxMarks, writer *outcomeWriter) *txRunner {
	r := &txRunner{rt: rt, queue: w.def.name, handler: w.inTx, level: w.opts.isolation,
		idle: maxIdle(w.opts.lease), inbox: inbox, writer: writer}
	if r.level == "" {
		r.level = pgx.ReadCommitted
	}
	return r
}

// run is one attempt: begin, the inbox, the handler, the result, the completion and the commit.
func (r *txRunner) run(ctx context.Context, j *job) error {
	tx, err := r.rt.Box().(*outbox.Box).Begin(ctx, outbox.WithTxOptions(r.txOptions(j)))
	if err != nil {
		return &unspent{err, DefaultBackoff.First}
	}
	j.state.open.add(core.TxOf(tx))
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // without effect after a commit
	first, err := r.inbox.markInTx(ctx, tx, j)
	if err != nil {
		return err
	}
	if first {
		if err := r.handler(ctx, tx, j); err != nil {
			return err
		}
	}
	if err := r.storeResult(ctx, tx, j); err != nil {
		return err
	}
	return r.commit(ctx, tx, j)
}

// sqlCompleteInTx ends a handler's transaction. The numbers are put in after host.SQL, which caches by text.
const sqlCompleteInTx = `SELECT {schema}.strunk_complete_or_fail(%d, %d, %d, %t); COMMIT`

// sqlPublishInTx is sqlCompleteInTx that publishes that the task is done.
const sqlPublishInTx = `SELECT {schema}.strunk_complete_publishing_or_fail(%d, %d, %d, %t); COMMIT`

// txOptions begin and end a handler's transaction. Each is one message. The end is the fenced
// completion and the COMMIT, which is not reached where the completion raises an error. Both hold
// no text but numbers and the quoted schema.
func (r *txRunner) txOptions(j *job) pgx.TxOptions {
	sql := sqlCompleteInTx
	if r.writer.publishes {
		sql = sqlPublishInTx
	}
	complete := fmt.Sprintf(r.rt.SQL(sql), r.writer.worker, j.id, j.claim, r.writer.keep)
	return pgx.TxOptions{
		BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL %s READ WRITE; SET LOCAL
			idle_in_transaction_session_timeout = %d`,
			r.level, r.idle.Milliseconds()),
		CommitQuery: complete,
	}
}

// sqlStoreResults stores the results ($3) of tasks ($2) of queue $1 in the caller's transaction.
const sqlStoreResults = `SELECT {schema}.strunk_store_results($1::text, $2::bigint[], $3::text[])`

// storeResult stores the result within the handler's transaction.
func (r *txRunner) storeResult(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
	if j.result == nil {
		return nil
	}
	t := core.TxOf(tx)
	t.Wake(core.TopicResult(r.queue))
	args := []any{r.queue, []int64{j.id}, []string{*j.result}}
	return t.Query(ctx, r.rt.SQL(sqlStoreResults), args, noRows)
}

// commit commits, and finds out what happened where the answer does not say.
func (r *txRunner) commit(ctx context.Context, tx *outbox.OwnedTx, j *job) error {
	ctx, cancel := core.Outlasting(ctx, r.writer.end, outcomeTimeout)
	defer cancel()
	err := tx.Commit(ctx)
	switch {
	case err == nil:
		j.settled = true
		return nil
	case core.SQLState(err) == core.CodeLeaseLost:
		return fmt.Errorf("strunk/queue: the handler's transaction was rolled back: %w: %w", ErrLeaseLost, err)
	case core.IsMissingPartition(err):
		makeErr := core.Write(ctx, r.rt.Pool(), core.Statement{SQL: r.rt.SQL(sqlPartitions)})
		return &unspent{errors.Join(err, makeErr), 0}
	case core.AnswerLost(err):
		ended, askErr := r.writer.ended([]outcome{{job: j}})
		if askErr == nil && len(ended) == 1 {
			j.settled = true
			return nil
		}
	}
	return err
}
