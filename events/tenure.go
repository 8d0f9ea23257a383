package events

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// statementTimeout bounds one statement; an answer that takes longer counts as lost.
const statementTimeout = 15 * time.Second

// errReload ends a tenure whose place in the feed must be read again: the database may not be the one that it was.
var errReload = errors.New("the subscriber's place is read again")

// tenure is an owner's time under one epoch: it ends once, with a cause, and runs the statements that the epoch fences.
type tenure struct {
	*owner
	life   core.Life
	epoch  int64
	base   context.Context // of handlers
	cancel context.CancelCauseFunc
}

func newTenure(o *owner, life core.Life, epoch int64) *tenure {
	t := &tenure{owner: o, life: life, epoch: epoch}
	t.base, t.cancel = context.WithCancelCause(context.WithoutCancel(life.Hard))
	return t
}

// ending reports whether no further event may be begun.
func (t *tenure) ending() bool { return t.base.Err() != nil || t.life.Soft.Err() != nil }

// end ends the tenure and the contexts of its handlers; the first cause counts.
func (t *tenure) end(cause error) { t.cancel(cause) }

// reload ends the tenure because what it knows may not hold any more, and says why.
func (t *tenure) reload(why string, attrs ...any) {
	if t.base.Err() == nil {
		t.rt.Logger().Warn("strunk: a subscriber reads its place again: "+why,
			append([]any{"subscriber", t.name}, attrs...)...)
	}
	t.end(errReload)
}

// over reports whether the epoch is known to be over: nothing may be written under it.
func (t *tenure) over() bool {
	cause := context.Cause(t.base)
	return errors.Is(cause, ErrLeaseLost) || errors.Is(cause, ErrRewound) || errors.Is(cause, errReload)
}

// sleep waits, or until the tenure ends.
func (t *tenure) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.base.Done():
	case <-t.life.Soft.Done():
	}
}

// Durability of a statement's commit. What the server's default is does not count.
const (
	// flushed waits for the disk: what was answered is not lost in a crash of the server.
	flushed = `SELECT pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')
	WHEN 'off' THEN 'on' ELSE pg_catalog.current_setting('synchronous_commit') END, true)`
	// unflushed does not: a cursor that a crash of the server sets back costs repetitions.
	unflushed = `SET LOCAL synchronous_commit = off`
)

// guarded runs a statement that answers whether the epoch still holds, and ends the tenure where it does not.
func (t *tenure) guarded(ctx context.Context, durability, sql string, args ...any) error {
	var ok *bool
	err := t.statement(ctx, durability, sql, args, &ok)
	if err == nil && (ok == nil || !*ok) {
		t.reload("its epoch is over, or the server has lost what it had stored")
	}
	return err
}

// guardedIn is guarded in a handler's transaction, which must not be committed after an error.
func (t *tenure) guardedIn(ctx context.Context, tx *outbox.OwnedTx, sql string, args ...any) error {
	var ok *bool
	if err := tx.Pgx().QueryRow(ctx, t.rt.SQL(sql), args...).Scan(&ok); err != nil {
		return err
	}
	if ok == nil || !*ok {
		t.reload("its epoch is over, or the server has lost what it had stored")
		return errReload
	}
	return nil
}

// statement runs one statement as a transaction of its own and scans its last row into dest.
func (t *tenure) statement(ctx context.Context, durability, sql string, args []any, dest ...any) error {
	return t.query(ctx, durability, sql, args, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, dest, func() error { return nil })
		return err
	})
}

func (t *tenure) query(ctx context.Context, durability, sql string, args []any, scan func(pgx.Rows) error) error {
	return t.onConn(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		statements := []core.Statement{{SQL: durability}, {SQL: t.rt.SQL(sql), Args: args, Scan: scan}}
		return core.RetryConflicts(ctx, func() error { return core.OneMessage(ctx, conn, statements...) })
	})
}

// onConn runs fn with a connection of the pool, for at most statementTimeout.
func (t *tenure) onConn(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	conn, err := t.rt.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return fn(ctx, conn.Conn())
}

// persist repeats a write that must not be left out, until it succeeds or the tenure ends.
func (t *tenure) persist(what string, fn func(ctx context.Context) error) error {
	pause := firstPause
	for {
		err := fn(t.base)
		if err == nil {
			return nil
		}
		if t.ending() {
			return err
		}
		t.logError(t.rt, what+" failed", err)
		t.sleep(pause)
		pause = min(2*pause, t.poll)
	}
}

// persistFailure is persist for a write that holds a failure's texts. Texts that the database
// cannot hold (its encoding may have no sign for them) are stored in ASCII: an event whose outcome
// cannot be stored would hold up the others for ever.
func (t *tenure) persistFailure(what string, failure error,
	fn func(ctx context.Context, text, stack *string) error) error {
	text, stack := errorTexts(failure)
	return t.persist(what, func(ctx context.Context) error {
		err := fn(ctx, text, stack)
		if core.IsDataError(err) {
			text, stack = core.ASCIIText(text), core.ASCIIText(stack)
		}
		return err
	})
}
