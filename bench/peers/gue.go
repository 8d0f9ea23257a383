package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vgarvardt/gue/v5"
	"github.com/vgarvardt/gue/v5/adapter/pgxv5"
	"golang.org/x/sync/errgroup"
)

const (
	gueWorkers = 16
	guePoll    = 10 * time.Millisecond
)

// gueSchema is migrations/schema.sql of gue.
const gueSchema = `CREATE TABLE gue_jobs (
	job_id text NOT NULL PRIMARY KEY,
	priority smallint NOT NULL,
	run_at timestamptz NOT NULL,
	job_type text NOT NULL,
	args bytea NOT NULL,
	error_count integer NOT NULL DEFAULT 0,
	last_error text,
	queue text NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL
);
CREATE INDEX idx_gue_jobs_selector ON gue_jobs (queue, run_at, priority);`

type gueTasks struct {
	pool   *pgxpool.Pool
	client *gue.Client
}

func (*gueTasks) describe() (module, settings string) {
	return "github.com/vgarvardt/gue/v5", fmt.Sprintf("a pool of %d workers, `PollInterval` %v, `RunAtPollStrategy`, "+
		"the order that its index has; 50 idle queues: one worker each, polling every 5 s, the default. "+
		"Batches by `EnqueueBatch`, single tasks by `EnqueueTx`", gueWorkers, guePoll)
}

func (g *gueTasks) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, gueSchema)
	return err
}

func (g *gueTasks) open(_ context.Context, pool *pgxpool.Pool) (err error) {
	g.pool = pool
	g.client, err = gue.NewClient(pgxv5.NewConnPool(pool))
	return err
}

func gueJob(j job) (*gue.Job, error) {
	args, err := json.Marshal(j)
	made := &gue.Job{Type: "bench", Args: args}
	if j.Due != 0 {
		made.RunAt = time.UnixMicro(j.Due)
	}
	return made, err
}

func (g *gueTasks) addMany(ctx context.Context, jobs []job) error {
	made := make([]*gue.Job, len(jobs))
	for i, j := range jobs {
		var err error
		if made[i], err = gueJob(j); err != nil {
			return err
		}
	}
	return g.client.EnqueueBatch(ctx, made)
}

func (g *gueTasks) addOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, g.pool, func(tx pgx.Tx) error { return g.addIn(ctx, tx, j) })
}

func (g *gueTasks) addIn(ctx context.Context, tx pgx.Tx, j job) error {
	made, err := gueJob(j)
	if err != nil {
		return err
	}
	return g.client.EnqueueTx(ctx, made, pgxv5.NewTx(tx))
}

func (g *gueTasks) work(ctx context.Context, how manner, handled func(job)) (worker, error) {
	handlers := gue.WorkMap{"bench": func(_ context.Context, j *gue.Job) error {
		var made job
		if err := json.Unmarshal(j.Args, &made); err != nil {
			return err
		}
		handled(made)
		return nil
	}}
	ctx, cancel := context.WithCancel(ctx)
	running, ctx := errgroup.WithContext(ctx)
	run := func(queue string, workers int, poll time.Duration) error {
		pool, err := gue.NewWorkerPool(g.client, handlers, workers, gue.WithPoolQueue(queue),
			gue.WithPoolPollInterval(poll), gue.WithPoolPollStrategy(gue.RunAtPollStrategy),
			gue.WithPoolGracefulShutdown(nil))
		if err == nil {
			running.Go(func() error { return pool.Run(ctx) })
		}
		return err
	}
	var err error
	if how.Mode == defaults {
		for i := 0; i < how.Width && err == nil; i++ {
			err = run(gueQueue(i), 1, 5*time.Second)
		}
	} else {
		err = run(gueQueue(0), gueWorkers, guePoll)
	}
	stop := func() error {
		cancel()
		return running.Wait()
	}
	return worker{stop: stop, settle: func(int) error { return stop() }}, err
}

// gueQueue names a queue; the first is the one without a name, where jobs go.
func gueQueue(i int) string {
	if i == 0 {
		return ""
	}
	return "idle" + strconv.Itoa(i)
}
