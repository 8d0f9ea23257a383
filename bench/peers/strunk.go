package main

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// strunkConcurrency is enough for a handler that does nothing; more makes no difference.
const strunkConcurrency = 200

var jobs = queue.Define[job]("bench", queue.Config{})

type strunk struct {
	pool *pgxpool.Pool
	box  *outbox.Box
}

func (s *strunk) name() string  { return "strunk" }
func (s *strunk) table() string { return "public.strunk_outbox_tasks" }

func (s *strunk) open(ctx context.Context, pool *pgxpool.Pool) (err error) {
	s.pool = pool
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return err
	}
	s.box, err = outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	return err
}

func (s *strunk) enqueueMany(ctx context.Context, batch []job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := jobs.EnqueueBatch(ctx, tx, batch)
		return err
	})
}

func (s *strunk) enqueueOne(ctx context.Context, j job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := jobs.Enqueue(ctx, tx, j)
		return err
	})
}

func (s *strunk) enqueueIn(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := jobs.Enqueue(ctx, s.box.Tx(tx), j)
	return err
}

// drain returns with Run, which stores what its handlers have done before it returns.
func (s *strunk) drain(ctx context.Context, n int, handled func(job)) (func() error, error) {
	left := newCountdown(n)
	stop, err := s.work(ctx, func(j job) {
		handled(j)
		left.tick()
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-left.over:
	case <-ctx.Done():
	}
	return func() error { return nil }, stop()
}

func (s *strunk) work(ctx context.Context, handled func(job)) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	worker := jobs.Worker(func(_ context.Context, task queue.Task[job]) error {
		handled(task.Payload)
		return nil
	}, queue.Concurrency(strunkConcurrency))
	go func() { ended <- s.box.Run(ctx, worker) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

func (s *strunk) done(ctx context.Context) (n int, err error) {
	err = s.pool.QueryRow(ctx, "SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'").Scan(&n)
	return n, err
}
