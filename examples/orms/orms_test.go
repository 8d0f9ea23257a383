package orms_test

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/strunk-go/strunk/examples/orms/ent"
	"github.com/strunk-go/strunk/internal/anytx"
	"github.com/strunk-go/strunk/outbox"
)

func TestAnyTransaction(t *testing.T) {
	t.Parallel()
	for name, library := range map[string]anytx.Library{"GORM": viaGORM, "sqlx": viaSqlx, "bun": viaBun,
		"ent": viaEnt} {
		t.Run(name, func(t *testing.T) { t.Parallel(); anytx.Run(t, library) })
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func viaGORM(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open, error) {
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: open(t, dsn)}), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (anytx.Open, error) {
		tx := db.WithContext(ctx).Begin()
		return anytx.Open{Tx: box.SQLTx(tx.Statement.ConnPool.(outbox.SQLConn)),
			Exec:     func(ctx context.Context, text string) error { return tx.WithContext(ctx).Exec(text).Error },
			Commit:   func() error { return tx.Commit().Error },
			Rollback: func() error { return tx.Rollback().Error }}, tx.Error
	}
}

func viaSqlx(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open, error) {
	db := sqlx.NewDb(open(t, dsn), "pgx")
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: box.SQLTx(tx),
			Exec:   func(ctx context.Context, text string) error { _, err := tx.ExecContext(ctx, text); return err },
			Commit: tx.Commit, Rollback: tx.Rollback}, nil
	}
}

func viaBun(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open, error) {
	db := bun.NewDB(open(t, dsn), pgdialect.New())
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: box.SQLTx(tx.Tx), // bun's own methods would put arguments into the text
			Exec:   func(ctx context.Context, text string) error { _, err := tx.NewRaw(text).Exec(ctx); return err },
			Commit: tx.Commit, Rollback: tx.Rollback}, nil
	}
}

func viaEnt(t *testing.T, box *outbox.Box, dsn string) func(context.Context) (anytx.Open, error) {
	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, open(t, dsn))))
	return func(ctx context.Context) (anytx.Open, error) {
		tx, err := client.Tx(ctx)
		if err != nil {
			return anytx.Open{}, err
		}
		return anytx.Open{Tx: box.SQLTx(tx),
			Exec:   func(ctx context.Context, text string) error { _, err := tx.ExecContext(ctx, text); return err },
			Commit: tx.Commit, Rollback: tx.Rollback}, nil
	}
}
