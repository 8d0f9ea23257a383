package main

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// job is the payload of both libraries.
type job struct {
	N    int    `json:"n"`
	To   string `json:"to"`
	Body string `json:"body"`
}

func newJob(n int) job { return job{N: n, To: "user@example.com", Body: "welcome"} }

// batchSize is that of River's own benchmark.
const batchSize = 5_000

// peer is a library under measurement.
type peer interface {
	name() string
	// open migrates the empty schema of the pool's database. What it held before is gone.
	open(ctx context.Context, pool *pgxpool.Pool) error
	// enqueueMany adds the jobs in one transaction, as quickly as the library can.
	enqueueMany(ctx context.Context, jobs []job) error
	// enqueueOne adds one job in a transaction of its own.
	enqueueOne(ctx context.Context, j job) error
	// enqueueIn adds one job in a transaction of the application.
	enqueueIn(ctx context.Context, tx pgx.Tx, j job) error
	// drain works off what is there, n tasks, and returns when the last of them is stored as done.
	// stop ends what it has started.
	drain(ctx context.Context, n int, handled func(job)) (stop func() error, err error)
	// work starts a worker, set up for latency; stop ends it gracefully.
	work(ctx context.Context, handled func(job)) (stop func() error, err error)
	// done counts the tasks that are stored as done.
	done(ctx context.Context) (int, error)
	// table is the one that tasks are added to.
	table() string
}

// countdown closes a channel when it has been called n times.
type countdown struct {
	left atomic.Int64
	over chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{over: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) tick() {
	if c.left.Add(-1) == 0 {
		close(c.over)
	}
}
