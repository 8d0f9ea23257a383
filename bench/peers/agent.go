package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// agentVariable names the library that a process of this program is the agent of.
const agentVariable = "STRUNK_BENCH_AGENT"

// agent drives one library as it is asked to.
type agent struct {
	library
	pool   *pgxpool.Pool
	opened bool
	calls  calls
	worker worker
}

// runAgent answers requests until they end.
func runAgent(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	newLibrary, ok := libraries[name]
	if !ok {
		return fmt.Errorf("there is no library %q", name)
	}
	pool, err := agentPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	a := &agent{library: newLibrary(), pool: pool}
	requests, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var r request
		if err := requests.Decode(&r); err != nil {
			return nil // the end
		}
		said, err := a.do(ctx, r)
		if err != nil {
			said.Error = fmt.Sprintf("%s: %v", r.Do, err)
		}
		said.CPU = cpuUsed()
		if err := answers.Encode(said); err != nil {
			return err
		}
	}
}

// agentPool reads libpq's variables. It is of the same size for each library in Go, and has a connection.
func agentPool(ctx context.Context) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(fmt.Sprintf("pool_max_conns=%d", maxConns))
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return pool, pool.Ping(ctx)
}

func (a *agent) do(ctx context.Context, r request) (said answer, err error) {
	if !a.opened && r.Do != doHello && r.Do != doMigrate {
		if err := a.open(ctx, a.pool); err != nil {
			return said, err
		}
		a.opened = true
	}
	switch r.Do {
	case doHello:
		module, settings := a.describe()
		return answer{Version: version(module), Settings: settings}, nil
	case doMigrate:
		return said, a.migrate(ctx, a.pool)
	case doFill:
		return said, a.fill(ctx, r)
	case doAdd:
		return a.add(ctx, r)
	case doPace:
		return a.pace(ctx, r)
	case doWork:
		a.calls.reset(r.N)
		said.At = []int64{now()}
		a.worker, err = a.work(ctx, r.manner, a.calls.note)
		return said, err
	case doHandled:
		return answer{N: a.calls.count()}, nil
	case doCalls:
		return a.calls.each(int(r.Every)), nil
	case doSettle:
		return said, a.worker.settle(a.calls.count())
	case doStop:
		return said, a.worker.stop()
	}
	return said, fmt.Errorf("an agent does not know this word")
}

func (a *agent) fill(ctx context.Context, r request) error {
	for first := 0; first < r.N; first += r.Batch {
		batch := make([]job, min(r.Batch, r.N-first))
		for i := range batch {
			batch[i] = newJob(first + i)
			if r.Due != 0 {
				batch[i].Due = r.Due + int64(first+i)*r.Every
			}
		}
		if err := a.addMany(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// one returns the way to add one job.
func (a *agent) one(r request) func(context.Context, job) error {
	if !r.Row {
		return a.addOne
	}
	return func(ctx context.Context, j job) error {
		return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
			if err := insertRow(ctx, tx, j); err != nil {
				return err
			}
			return a.addIn(ctx, tx, j)
		})
	}
}

// insertRow is the business of an application.
func insertRow(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := tx.Exec(ctx, "INSERT INTO business.orders (customer, note) VALUES ($1, $2)", j.To, j.Body)
	return err
}

func (a *agent) add(ctx context.Context, r request) (answer, error) {
	add := a.one(r)
	var n atomic.Int64
	began := time.Now()
	end := began.Add(time.Duration(r.For) * time.Microsecond)
	g, ctx := errgroup.WithContext(ctx)
	for range r.Clients {
		g.Go(func() error {
			for time.Now().Before(end) {
				if err := add(ctx, newJob(int(n.Add(1)))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return answer{N: int(n.Load()), Took: time.Since(began).Microseconds()}, err
}

func (a *agent) pace(ctx context.Context, r request) (answer, error) {
	add := a.one(r)
	committed := make([]int64, r.N)
	var next atomic.Int64
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range r.Clients {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < r.N; i = int(next.Add(1)) - 1 {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(r.Rate))))
				if err := add(ctx, newJob(i)); err != nil {
					return err
				}
				committed[i] = now()
			}
			return nil
		})
	}
	err := g.Wait()
	return answer{At: committed, Took: time.Since(began).Microseconds()}, err
}

func now() int64 { return time.Now().UnixMicro() }

// cpuUsed is the user and system time of this process.
func cpuUsed() int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Microseconds()
}

// calls are those of the handler, in their order.
type calls struct {
	n     atomic.Int64
	noted []call
}

type call struct {
	job int
	at  atomic.Int64
}

// reset makes room for n calls. Further ones are only counted.
func (c *calls) reset(n int) {
	c.n.Store(0)
	c.noted = make([]call, n)
}

func (c *calls) note(j job) {
	if i := int(c.n.Add(1)) - 1; i < len(c.noted) {
		c.noted[i].job = j.N
		c.noted[i].at.Store(now())
	}
}

func (c *calls) count() int { return int(c.n.Load()) }

// each returns each k-th call.
func (c *calls) each(k int) (said answer) {
	for i := k - 1; i < min(c.count(), len(c.noted)); i += k {
		if at := c.noted[i].at.Load(); at != 0 { // else it is being noted
			said.Jobs = append(said.Jobs, c.noted[i].job)
			said.At = append(said.At, at)
		}
	}
	return said
}

// agentName returns the library that this process is the agent of.
func agentName() string { return os.Getenv(agentVariable) }
