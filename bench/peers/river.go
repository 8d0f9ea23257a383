package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverConfigs are: the settings of River's own benchmark (riverbench), whose comments say that they were tried
// against others; the same with the shortest cooldown that River allows; and its defaults.
var riverConfigs = map[string]river.Config{
	throughput: {FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond},
	quickest:   {FetchCooldown: river.FetchCooldownMin, FetchPollInterval: 20 * time.Millisecond},
	defaults:   {},
}

// Kind is how River names the job.
func (job) Kind() string { return "bench" }

type riverTasks struct {
	pool     *pgxpool.Pool
	inserter *river.Client[pgx.Tx]
}

func (*riverTasks) describe() (module, settings string) {
	return "github.com/riverqueue/river", "throughput, as its own riverbench: `FetchCooldown` 2 ms, " +
		"`FetchPollInterval` 20 ms, `MaxWorkers` 2,000; latency: the least `FetchCooldown`, 1 ms; 50 idle queues: " +
		"its defaults, `MaxWorkers` 10 each. Batches by `InsertManyFast` (COPY), single tasks by `InsertTx`"
}

func (r *riverTasks) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (r *riverTasks) open(_ context.Context, pool *pgxpool.Pool) (err error) {
	r.pool = pool
	r.inserter, err = r.client(riverConfigs[quickest], func(job) {}) // it bounds how often inserts wake workers
	return err
}

// client makes one that works, once it is started.
func (r *riverTasks) client(cfg river.Config, handled func(job)) (*river.Client[pgx.Tx], error) {
	cfg.Workers = river.NewWorkers()
	cfg.Logger = slog.New(slog.DiscardHandler)
	err := river.AddWorkerSafely(cfg.Workers, river.WorkFunc(func(_ context.Context, j *river.Job[job]) error {
		handled(j.Args)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return river.NewClient(riverpgxv5.New(r.pool), &cfg)
}

func (r *riverTasks) addMany(ctx context.Context, jobs []job) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = j
		if j.Due != 0 {
			params[i].InsertOpts = &river.InsertOpts{ScheduledAt: time.UnixMicro(j.Due)}
		}
	}
	_, err := r.inserter.InsertManyFast(ctx, params)
	return err
}

func (r *riverTasks) addOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error { return r.addIn(ctx, tx, j) })
}

func (r *riverTasks) addIn(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := r.inserter.InsertTx(ctx, tx, j, nil)
	return err
}

// work counts completions as River's own benchmark does: by its events, which follow the stored completion.
func (r *riverTasks) work(ctx context.Context, how manner, handled func(job)) (worker, error) {
	cfg := riverConfigs[how.Mode]
	cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}}
	if how.Mode == defaults {
		cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}
		for i := 1; i < how.Width; i++ {
			cfg.Queues["idle"+strconv.Itoa(i)] = river.QueueConfig{MaxWorkers: 10}
		}
	}
	client, err := r.client(cfg, handled)
	if err != nil {
		return worker{}, err
	}
	completions, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 1_000_000,
		Kinds:    []river.EventKind{river.EventKindJobCompleted},
	})
	settle := func(handled int) error {
		for range handled {
			select {
			case <-completions:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	var once sync.Once
	stop := func() (err error) {
		once.Do(func() {
			unsubscribe()
			err = client.Stop(ctx)
		})
		return err
	}
	return worker{settle: settle, stop: stop}, client.Start(ctx)
}
