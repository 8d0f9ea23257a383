package outbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// Tx is an open transaction that tasks can be enqueued and events published in. It is made by
// [Box.InTx], [Box.Begin], [Box.Tx] or [Box.SQLTx] only: a pgx.Tx or an *sql.Tx does not compile in
// its place. Like the transaction under it, it is for one goroutine at a time.
type Tx interface {
	// useBoxTxOrBoxSQLTx is what the compiler misses in a transaction that was not passed to box.Tx or box.SQLTx.
	useBoxTxOrBoxSQLTx() core.Tx
}

// TxOption changes how a transaction is begun or borrowed.
type TxOption func(*txOptions)

type txOptions struct {
	begin    pgx.TxOptions
	noNotify bool
}

// WithTxOptions sets the isolation level and access mode of a transaction that strunk begins. Borrowed transactions
// ignore it.
func WithTxOptions(opts pgx.TxOptions) TxOption { return func(o *txOptions) { o.begin = opts } }

// WithoutNotify leaves the wake-up to polling: for transactions that are to be prepared (two-phase commit), where
// PostgreSQL forbids NOTIFY, and for bulk loads.
func WithoutNotify() TxOption { return func(o *txOptions) { o.noNotify = true } }

func applyTxOptions(opts []TxOption) (o txOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}

// OwnedTx is a transaction that strunk began and commits. Only it has hooks: nobody tells us of the
// commit of a borrowed transaction.
type OwnedTx struct {
	box    *Box
	tx     pgx.Tx
	conn   txConn
	notify bool
	began  time.Time // before its first statement

	mu     sync.Mutex
	inside bool     // announcements are sent inside
	topics []string // announced after the commit
	local  []string // announced inside: this process's consumers are woken after the commit
	added  []enqueued
	hooks  []func()
	done   bool
}

// InTx runs fn in a transaction: committed if fn returns nil, rolled back if it returns an error or
// panics. The error of fn is returned as it is, that of the commit wrapped. After the commit this
// process's consumers are woken directly, and the AfterCommit hooks run. The others are woken by one
// NOTIFY: inside the transaction where this process announces something seldom, else after the
// commit, together with others of this process.
func (b *Box) InTx(ctx context.Context, fn func(tx *OwnedTx) error, opts ...TxOption) error {
	if fn == nil {
		return errors.New("strunk/outbox: InTx: the function is nil: there is nothing to run; use Begin for a " +
			"transaction by hand")
	}
	tx, err := b.Begin(ctx, opts...)
	if err != nil {
		return err
	}
	defer tx.abandon(ctx)
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Begin begins a transaction that the caller ends with Commit or Rollback.
func (b *Box) Begin(ctx context.Context, opts ...TxOption) (*OwnedTx, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	o := applyTxOptions(opts)
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("strunk/outbox: begin: %w", err)
	}
	if o.begin.AccessMode == "" {
		o.begin.AccessMode = pgx.ReadWrite // whatever the server's default
	}
	began := time.Now()
	tx, err := conn.BeginTx(ctx, o.begin)
	if err != nil {
		conn.Release()
		return nil, fmt.Errorf("strunk/outbox: begin: %w", err)
	}
	return &OwnedTx{box: b, tx: tx, conn: txConn{conn: conn}, notify: b.notifies(o), began: began}, nil
}

// Pgx returns the transaction itself, for the business SQL. Do not commit it: Commit and the hooks would not know.
func (t *OwnedTx) Pgx() pgx.Tx { return t.tx }

// AfterCommit registers fn to run after the commit has succeeded, in the order of registration, in the goroutine that
// commits. A panic in fn is logged and goes no further. Nothing is run after a rollback.
func (t *OwnedTx) AfterCommit(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hooks = append(t.hooks, fn)
}

// Commit commits. When it returns an error the transaction may still have been committed if the connection broke; a
// dedup key or an inbox makes trying again safe.
func (t *OwnedTx) Commit(ctx context.Context) error {
	if err := t.end(); err != nil {
		return err
	}
	err := t.tx.Commit(ctx)
	t.conn.release()
	if err != nil {
		return fmt.Errorf("strunk/outbox: commit: %w", err)
	}
	t.box.counters.enqueued(t.added)
	t.announce()
	for _, hook := range t.hooks {
		t.runHook(hook)
	}
	return nil
}

// announce wakes this process's consumers, and those of others by one NOTIFY, unless that was sent inside. Who fell
// asleep since was not sent one: where that may be long ago it is sent now.
func (t *OwnedTx) announce() {
	t.box.wakeUps.wake(t.local)
	if !t.notify {
		t.box.wakeUps.wake(t.topics)
		return
	}
	if time.Since(t.began) >= core.FirstPause {
		t.topics = append(t.topics, t.local...)
	}
	t.box.wake(t.topics)
}

// Rollback rolls back; after Commit or Rollback it does nothing and returns nil.
func (t *OwnedTx) Rollback(ctx context.Context) error {
	if t.end() != nil {
		return nil
	}
	defer t.conn.release()
	if err := t.tx.Rollback(ctx); err != nil {
		return fmt.Errorf("strunk/outbox: rollback: %w", err)
	}
	return nil
}

// rollbackTimeout bounds the rollback of a transaction whose context may have ended already.
const rollbackTimeout = 5 * time.Second

// abandon rolls back, whatever has become of ctx; after a commit it does nothing.
func (t *OwnedTx) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = t.Rollback(ctx) // the error of fn says more, and a broken connection is the pool's to close
}

func (t *OwnedTx) end() error {
	if t == nil || t.box == nil {
		return fmt.Errorf("strunk/outbox: commit: %w", ErrInvalidTx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return fmt.Errorf("strunk/outbox: commit: %w", ErrTxDone)
	}
	t.done = true
	return nil
}

func (t *OwnedTx) runHook(hook func()) {
	defer func() {
		if r := recover(); r != nil {
			t.box.cfg.Logger.Error("strunk: an AfterCommit hook panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	hook()
}

func (t *OwnedTx) useBoxTxOrBoxSQLTx() core.Tx { return (*ownedCore)(t) }

type ownedCore OwnedTx

func (t *ownedCore) Host() core.Host { return host{t.box} }

// Drop implements core.Dropper.
func (t *ownedCore) Drop() { t.conn.drop() }

// NotifyInside implements core.Tx. A process that announces something seldom does so inside, where it arrives with the
// commit; one that does so often, after it, for many commits at once.
func (t *ownedCore) NotifyInside() bool {
	if !t.notify {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside = t.inside || t.box.notifier.seldom(time.Now())
	return t.inside
}

func (t *ownedCore) Validate() error {
	if t == nil || t.box == nil {
		return ErrInvalidTx
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return ErrTxDone
	}
	return nil
}

func (t *ownedCore) Wake(topics ...string) { t.note(&t.topics, topics) }

// WakeLocal implements core.Tx.
func (t *ownedCore) WakeLocal(topics ...string) { t.note(&t.local, topics) }

func (t *ownedCore) note(in *[]string, topics []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, topic := range topics {
		if n := len(*in); n == 0 || (*in)[n-1] != topic {
			*in = append(*in, topic)
		}
	}
}

// Enqueued implements core.Tx.
func (t *ownedCore) Enqueued(queue string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := len(t.added) - 1; last >= 0 && t.added[last].queue == queue {
		t.added[last].n += n
		return
	}
	t.added = append(t.added, enqueued{queue, n})
}

func (t *ownedCore) Query(ctx context.Context, sql string, args []any, scan func(core.Rows) error) error {
	return queryPgx(ctx, t.tx, sql, args, scan)
}

func queryPgx(ctx context.Context, tx pgx.Tx, sql string, args []any, scan func(core.Rows) error) error {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := scan(rows); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// Tx lends strunk a pgx transaction that the caller commits or rolls back. The wake-up is a NOTIFY inside the
// transaction: at commit it takes a lock that all notifying commits of the server share. InTx takes it seldom.
func (b *Box) Tx(tx pgx.Tx, opts ...TxOption) Tx {
	return &borrowed{box: b, valid: !isNil(tx), notify: b.notifies(applyTxOptions(opts)),
		query: func(ctx context.Context, sql string, args []any, scan func(core.Rows) error) error {
			return queryPgx(ctx, tx, sql, args, scan)
		}}
}

// notifies reports whether a transaction with these options sends a NOTIFY at all.
func (b *Box) notifies(o txOptions) bool { return !b.cfg.PollOnly && !o.noNotify }

// borrowed is a transaction that belongs to the caller.
type borrowed struct {
	box    *Box
	query  func(ctx context.Context, sql string, args []any, scan func(core.Rows) error) error
	valid  bool
	notify bool
}

func (t *borrowed) useBoxTxOrBoxSQLTx() core.Tx { return t }
func (t *borrowed) Host() core.Host             { return host{t.box} }
func (t *borrowed) NotifyInside() bool          { return t.notify }
func (t *borrowed) Wake(...string)              {}
func (t *borrowed) WakeLocal(...string)         {}

// Enqueued implements core.Tx. A transaction that is rolled back later is counted.
func (t *borrowed) Enqueued(queue string, n int) { t.box.counters.enqueued([]enqueued{{queue, n}}) }

func (t *borrowed) Validate() error {
	if !t.valid {
		return ErrInvalidTx
	}
	return nil
}

func (t *borrowed) Query(ctx context.Context, sql string, args []any, scan func(core.Rows) error) error {
	return t.query(ctx, sql, args, scan)
}
