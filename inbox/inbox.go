// Package inbox keeps a consumer from handling a message twice: a webhook, a Kafka record, anything
// that may be delivered again and carries an id.
//
// The mark that a message was handled is written in the same transaction as the handler's writes:
// both are committed or neither. Marks are kept for the box's Retention.Inbox
// ([outbox.DefaultInboxRetention] without it); a message that can be delivered again later than
// that needs a mark of the caller's own. For the tasks of a queue there is the worker option
// queue.Inbox.
package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ErrInvalid says that a consumer's name or a message id cannot be stored; nothing was changed.
var ErrInvalid = errors.New("invalid argument")

const (
	sqlSavepoint = `SAVEPOINT strunk_inbox`
	sqlRelease   = `RELEASE SAVEPOINT strunk_inbox`
	sqlRollback  = `ROLLBACK TO SAVEPOINT strunk_inbox`
	// sqlMark marks message $2 as handled by consumer $1; false where it was before. It waits for a transaction that is
	// marking the same message.
	sqlMark = `SELECT {schema}.strunk_inbox_mark($1::text, $2::text, NULL)`
)

// Once runs fn if this consumer has not handled the message, and reports whether it did. The mark
// and what fn writes through the transaction are committed with it, or not at all. If another
// transaction is handling the same message, Once waits for its end: committed, fn is not run;
// rolled back, it is.
//
// When fn returns an error, its writes and the mark are undone (they stand in a savepoint) and Once
// returns that error; the transaction itself stays usable. Under REPEATABLE READ and SERIALIZABLE a
// message handled meanwhile is PostgreSQL's 40001.
//
// Errors: [ErrInvalid], [outbox.ErrInvalidTx], [outbox.ErrTxDone], fn's own as it is; the database's are wrapped.
func Once(ctx context.Context, tx outbox.Tx, consumer, messageID string,
	fn func(ctx context.Context) error) (ran bool, err error) {
	t, err := check(ctx, tx, consumer, messageID, fn)
	if err != nil {
		return false, err
	}
	first, err := begin(ctx, t, consumer, messageID)
	if err != nil {
		return false, fmt.Errorf("strunk/inbox: consumer %q: %w", consumer, err)
	}
	if first {
		if err := fn(ctx); err != nil {
			undo(context.WithoutCancel(ctx), t)
			return false, err
		}
	}
	if err := exec(ctx, t, sqlRelease); err != nil {
		return false, fmt.Errorf("strunk/inbox: consumer %q: %w", consumer, err)
	}
	return first, nil
}

// undo takes the savepoint's writes back, and the savepoint with them: one that stays would take
// the place of that of a Once around this one. Its errors are dropped: fn's error is the one to
// report, and the caller rolls back.
func undo(ctx context.Context, t core.Tx) {
	if exec(ctx, t, sqlRollback) == nil {
		_ = exec(ctx, t, sqlRelease)
	}
}

func check(ctx context.Context, tx outbox.Tx, consumer, messageID string, fn func(context.Context) error) (core.Tx,
	error) {
	if tx == nil {
		return nil, fmt.Errorf("strunk/inbox: %w: pass one from Box.InTx, Box.Begin, Box.Tx or Box.SQLTx",
			outbox.ErrInvalidTx)
	}
	t := core.TxOf(tx)
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("strunk/inbox: %w", err)
	}
	var err error
	if e := core.CheckName(consumer); e != nil {
		err = fmt.Errorf("the consumer's name %w", e)
	}
	if e := core.CheckKey(messageID); e != nil {
		err = errors.Join(err, fmt.Errorf("the message id %w", e))
	}
	if fn == nil {
		err = errors.Join(err, errors.New("the function is nil"))
	}
	if err != nil {
		return nil, fmt.Errorf("strunk/inbox: %w: %w", err, ErrInvalid)
	}
	if err := ctx.Err(); err != nil { // a driver may break a transaction whose context has ended
		return nil, fmt.Errorf("strunk/inbox: nothing was sent: %w", err)
	}
	return t, nil
}

// begin sets the savepoint and the mark.
func begin(ctx context.Context, t core.Tx, consumer, messageID string) (first bool, err error) {
	if err := exec(ctx, t, sqlSavepoint); err != nil {
		return false, err
	}
	err = t.Query(ctx, t.Host().SQL(sqlMark), []any{consumer, messageID}, func(rows core.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&first); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		undo(context.WithoutCancel(ctx), t) // the error to report is the first
	}
	return first, err
}

func exec(ctx context.Context, t core.Tx, sql string) error {
	return t.Query(ctx, sql, nil, func(rows core.Rows) error {
		for rows.Next() {
		}
		return rows.Err()
	})
}
