package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Inbox keeps a worker from handling a task again that this consumer has handled before. In WorkerInTx the mark is
// committed with the handler's writes. In Worker it is committed after the handler has returned nil and before the task is
// completed: if the process dies in between handler and mark, the handler runs again; after the mark it does not.
func Inbox(consumer string) WorkerOption {
	return workerOption(func(o *workerOptions) { o.inbox = &consumer })
}

const (
	// sqlMark marks message $2 as handled by consumer $1, for task $3; false where it was before.
	sqlMark = `SELECT {schema}.strunk_inbox_mark($1::text, $2::text, $3::bigint)`
	// sqlMarked asks whether consumer $1 has handled message $2.
	sqlMarked = `SELECT {schema}.strunk_inbox_marked($1::text, $2::text)`
)

// messageID is a task's in the inbox.
func (j *job) messageID() string { return "task:" + strconv.FormatInt(j.id, 10) }

// markInTx marks the task within its handler's transaction; false where it was handled before.
func (s *session) markInTx(ctx context.Context, tx *outbox.OwnedTx, j *job) (first bool, err error) {
	if s.opts.inbox == nil {
		return true, nil
	}
	err = tx.Core(seal).Query(ctx, s.rt.SQL(sqlMark), []any{*s.opts.inbox, j.messageID(), j.id}, func(rows core.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&first); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return false, fmt.Errorf("strunk/queue: inbox %q: %w", *s.opts.inbox, err)
	}
	return first, nil
}

// runOnce is one attempt of a handler without a transaction.
func (s *session) runOnce(ctx context.Context, j *job, w work) error {
	var marked bool
	if err := s.rt.Pool().QueryRow(ctx, s.rt.SQL(sqlMarked), *s.opts.inbox, j.messageID()).Scan(&marked); err != nil {
		return &unspent{fmt.Errorf("strunk/queue: inbox %q: %w", *s.opts.inbox, err), DefaultBackoff.First}
	}
	if marked {
		return nil
	}
	if err := w(ctx, j); err != nil {
		return err
	}
	return s.mark(context.WithoutCancel(ctx), j)
}

// mark tries for some time: without the mark the handler would run again.
func (s *session) mark(ctx context.Context, j *job) (err error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		if _, err = s.rt.Pool().Exec(ctx, s.rt.SQL(sqlMark), *s.opts.inbox, j.messageID(), j.id); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("strunk/queue: inbox %q: the handler has succeeded and could not be marked: %w", *s.opts.inbox, err)
		}
		core.Sleep(ctx, pause)
	}
}
