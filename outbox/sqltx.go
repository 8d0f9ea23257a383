package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"

	"github.com/strunk-go/strunk/internal/core"
)

// SQLConn is what strunk needs of a database/sql transaction. *sql.Tx has it, and so have the transactions of GORM
// (Statement.ConnPool), sqlx, bun and ent; *sql.DB and *sql.Conn lack Commit, so that work cannot be enqueued outside a
// transaction by mistake. Commit and Rollback are never called.
type SQLConn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	Commit() error
	Rollback() error
}

// SQLTx lends strunk a database/sql transaction, as Tx does for pgx. Any driver for PostgreSQL will do that takes $1
// placeholders; it is tested with pgx's stdlib and with lib/pq.
func (b *Box) SQLTx(tx SQLConn, opts ...TxOption) Tx {
	return &borrowed{box: b, valid: !isNil(tx), notify: b.notifies(applyTxOptions(opts)),
		query: func(ctx context.Context, query string, args []any, scan func(core.Rows) error) error {
			return querySQL(ctx, tx, query, args, scan)
		}}
}

// isNil reports whether an interface holds nothing, or a nil pointer.
func isNil(tx any) bool {
	v := reflect.ValueOf(tx)
	return tx == nil || (v.Kind() == reflect.Pointer && v.IsNil())
}

func querySQL(ctx context.Context, tx SQLConn, query string, args []any, scan func(core.Rows) error) error {
	plain := make([]any, len(args))
	for i, arg := range args {
		v, err := core.ArrayLiteral(arg)
		if err != nil {
			return err
		}
		plain[i] = v
	}
	rows, err := tx.QueryContext(ctx, query, plain...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	if err := scan(rows); err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return rows.Err()
}
