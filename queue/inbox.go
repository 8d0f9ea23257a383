package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Inbox keeps a worker from handling a task again that this consumer has handled before. In
// WorkerInTx the mark is committed with the handler's writes. In Worker it is committed after the
// handler has returned nil and before the task is completed: if the process dies in between handler
// and mark, the handler runs again; after the mark it does not.
func Inbox(consumer string) WorkerOption {
	return workerOption(func(o *workerOptions) { o.inbox = &consumer })
}

const (
	// sqlMark marks message $2 as handled by consumer $1, for task $3; false where it was before.
	sqlMark = `SELECT {schema}.strunk_inbox_mark($1::text, $2::text, $3::bigint)`
	// sqlMarked asks whether consumer $1 has handled message $2.
	sqlMarked = `SELECT {schema}.strunk_inbox_marked($1::text, $2::text)`
)

// inboxMarks are the marks of one consumer. A nil one marks nothing: every task is new to it.
type inboxMarks struct {
	host     core.Host
	consumer string
}

func newInboxMarks(host core.Host, consumer *string) *inboxMarks {
	if consumer == nil {
		return nil
	}
	return &inboxMarks{host: host, consumer: *consumer}
}

// messageID is a task's id in the inbox.
func (j *job) messageID() string { return "task:" + strconv.FormatInt(j.id, 10) }

// markInTx marks the task within its handler's transaction. It returns false where the task was handled before.
func (m *inboxMarks) markInTx(ctx context.Context, tx *outbox.OwnedTx, j *job) (first bool, err error) {
	if m == nil {
		return true, nil
	}
	args := []any{m.consumer, j.messageID(), j.id}
	err = core.TxOf(tx).Query(ctx, m.host.SQL(sqlMark), args, func(rows core.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&first); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return false, fmt.Errorf("strunk/queue: inbox %q: %w", m.consumer, err)
	}
	return first, nil
}

// around wraps a handler without a transaction: a task that was handled before is done.
func (m *inboxMarks) around(w work) work {
	if m == nil {
		return w
	}
	return func(ctx context.Context, j *job) error {
		var marked bool
		err := m.host.Pool().QueryRow(ctx, m.host.SQL(sqlMarked), m.consumer, j.messageID()).Scan(&marked)
		if err != nil {
			return &unspent{fmt.Errorf("strunk/queue: inbox %q: %w", m.consumer, err), DefaultBackoff.First}
		}
		if marked {
			return nil
		}
		if err := w(ctx, j); err != nil {
			return err
		}
		return m.mark(context.WithoutCancel(ctx), j)
	}
}

// mark tries for some time: without the mark the handler would run again.
func (m *inboxMarks) mark(ctx context.Context, j *job) (err error) {
	ctx, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		err = core.Write(ctx, m.host.Pool(), core.Statement{SQL: m.host.SQL(sqlMark),
			Args: []any{m.consumer, j.messageID(), j.id}})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("strunk/queue: inbox %q: the handler has succeeded and could not be marked: %w",
				m.consumer, err)
		}
		core.Sleep(ctx, pause)
	}
}
