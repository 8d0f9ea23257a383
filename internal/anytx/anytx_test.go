package anytx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/strunk-go/strunk/internal/anytx"
	"github.com/strunk-go/strunk/outbox"
)

func TestAnyTransaction(t *testing.T) {
	t.Parallel()
	for name, library := range map[string]anytx.Library{
		"owned": owned,
		"pgx":   viaPgx,
		"database/sql with pgx": func(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open,
			error) {
			return viaSQL(t, box, "pgx", dsn)
		},
		"database/sql with pq": func(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open,
			error) {
			return viaSQL(t, box, "postgres", dsn)
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); anytx.Run(t, library) })
	}
}

func owned(_ *testing.T, box *outbox.Box, _ string) func(context.Context) (anytx.Open, error) {
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := box.Begin(ctx)
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: tx,
			Exec:     func(ctx context.Context, text string) error { _, err := tx.Pgx().Exec(ctx, text); return err },
			Commit:   func() error { return tx.Commit(ctx) },
			Rollback: func() error { return tx.Rollback(ctx) }}, nil
	}
}

func viaPgx(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open, error) {
	pool, err := pgxpool.New(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := pool.BeginTx(ctx, pgx.TxOptions{})
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: box.Tx(tx),
			Exec:     func(ctx context.Context, text string) error { _, err := tx.Exec(ctx, text); return err },
			Commit:   func() error { return tx.Commit(ctx) },
			Rollback: func() error { return tx.Rollback(ctx) }}, nil
	}
}

func viaSQL(t *testing.T, box *outbox.Box, driver, dsn string) func(context.Context) (anytx.Open, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: box.SQLTx(tx),
			Exec:   func(ctx context.Context, text string) error { _, err := tx.ExecContext(ctx, text); return err },
			Commit: tx.Commit, Rollback: tx.Rollback}, nil
	}
}
