package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// throughput are the settings of River's own benchmark, whose comments say that they were tried against others.
var throughput = river.Config{
	FetchCooldown:     2 * time.Millisecond,
	FetchPollInterval: 20 * time.Millisecond,
	Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}},
}

// quickest has the shortest cooldown that River allows.
var quickest = river.Config{
	FetchCooldown:     river.FetchCooldownMin,
	FetchPollInterval: 20 * time.Millisecond,
	Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}},
}

func (job) Kind() string { return "bench" }

type riverqueue struct {
	pool     *pgxpool.Pool
	inserter *river.Client[pgx.Tx]
}

func (r *riverqueue) name() string  { return "river" }
func (r *riverqueue) table() string { return "public.river_job" }

func (r *riverqueue) open(ctx context.Context, pool *pgxpool.Pool) error {
	r.pool = pool
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	r.inserter, err = r.client(quickest, func(job) {})
	return err
}

// client makes one that works, once it is started.
func (r *riverqueue) client(cfg river.Config, handled func(job)) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	err := river.AddWorkerSafely(workers, river.WorkFunc(func(_ context.Context, j *river.Job[job]) error {
		handled(j.Args)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	cfg.Workers = workers
	cfg.Logger = slog.New(slog.DiscardHandler)
	return river.NewClient(riverpgxv5.New(r.pool), &cfg)
}

func (r *riverqueue) enqueueMany(ctx context.Context, batch []job) error {
	params := make([]river.InsertManyParams, len(batch))
	for i, j := range batch {
		params[i].Args = j
	}
	_, err := r.inserter.InsertManyFast(ctx, params)
	return err
}

func (r *riverqueue) enqueueOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error { return r.enqueueIn(ctx, tx, j) })
}

func (r *riverqueue) enqueueIn(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := r.inserter.InsertTx(ctx, tx, j, nil)
	return err
}

// drain counts completions as River's own benchmark does: by its events, which follow the stored
// completion. Stopping the client is not part of it.
func (r *riverqueue) drain(ctx context.Context, n int, handled func(job)) (func() error, error) {
	client, err := r.client(throughput, handled)
	if err != nil {
		return nil, err
	}
	events, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: n,
		Kinds:    []river.EventKind{river.EventKindJobCompleted},
	})
	defer unsubscribe()
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	for range n {
		select {
		case <-events:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() error { return client.Stop(ctx) }, nil
}

func (r *riverqueue) work(ctx context.Context, handled func(job)) (stop func() error, err error) {
	client, err := r.client(quickest, handled)
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	return func() error { return client.Stop(ctx) }, nil
}

func (r *riverqueue) done(ctx context.Context) (n int, err error) {
	err = r.pool.QueryRow(ctx, "SELECT count(*) FROM public.river_job WHERE state = 'completed'").Scan(&n)
	return n, err
}
