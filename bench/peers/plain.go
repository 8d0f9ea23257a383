package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// plainRow is no library: the row of an application alone, in a transaction. No enqueue in a transaction can cost less.
type plainRow struct{ pool *pgxpool.Pool }

var (
	errNoBatches = errors.New("plain rows are not added in batches")
	errNoWorker  = errors.New("plain rows have no worker")
)

func (*plainRow) describe() (module, settings string) {
	return "github.com/jackc/pgx/v5", "the floor: BEGIN, one INSERT into a table of the application, COMMIT, by pgx"
}

func (*plainRow) migrate(context.Context, *pgxpool.Pool) error { return nil }

func (p *plainRow) open(_ context.Context, pool *pgxpool.Pool) error {
	p.pool = pool
	return nil
}

func (p *plainRow) addOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return insertRow(ctx, tx, j) })
}

func (*plainRow) addIn(context.Context, pgx.Tx, job) error { return nil }
func (*plainRow) addMany(context.Context, []job) error     { return errNoBatches }

func (*plainRow) work(context.Context, manner, func(job)) (worker, error) {
	return worker{}, errNoWorker
}
