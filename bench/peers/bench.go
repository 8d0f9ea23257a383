package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// maxConns is the size of each agent's pool: enough for as many clients as a row has.
	maxConns = 40
	// batchSize is that of River's own benchmark.
	batchSize = 5_000
	// pollEvery is how often an agent is asked how far it is.
	pollEvery = 5 * time.Millisecond
)

// bench measures one row of one peer.
type bench struct {
	server *server
	peer   peer
	sizes  sizes
	report *report
	agents []*process
	env    []string // in place of the server's address; nil means that
}

// measureRow does it in an empty database.
func measureRow(ctx context.Context, b *bench, r row) (err error) {
	if err := b.server.empty(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.closeAgents()) }()
	migrator, err := b.agent(ctx)
	if err != nil {
		return err
	}
	if _, err := migrator.ask(request{Do: doMigrate}); err != nil {
		return err
	}
	if _, err := b.server.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	return r.measure(b, ctx)
}

func (b *bench) add(l *line, value float64) { b.report.add(l, b.peer, value) }

// agent starts a process of the peer's.
func (b *bench) agent(ctx context.Context) (*process, error) {
	env := b.env
	if env == nil {
		env = b.server.env()
	}
	p, err := startProcess(ctx, b.peer.argv, append(env, b.peer.env...))
	if err != nil {
		return nil, err
	}
	b.agents = append(b.agents, p)
	return p, nil
}

// openAgent starts a process whose library is open.
func (b *bench) openAgent(ctx context.Context) (*process, error) {
	p, err := b.agent(ctx)
	if err != nil {
		return nil, err
	}
	_, err = p.ask(request{Do: doHandled})
	return p, err
}

func (b *bench) closeAgents() (err error) {
	for _, p := range b.agents {
		err = errors.Join(err, p.close())
	}
	b.agents = nil
	return err
}

// awaitHandled returns when the agents have handled n jobs together, or when the time is over and at least one was
// handled, and how many they were.
func awaitHandled(ctx context.Context, n int, limit time.Duration, agents ...*process) (handled int, err error) {
	for began := time.Now(); ; time.Sleep(pollEvery) {
		if handled, err = countHandled(agents); err != nil {
			return 0, err
		}
		switch waited := time.Since(began); {
		case handled >= n || handled > 0 && waited >= limit:
			return handled, ctx.Err()
		case handled == 0 && waited > patience:
			return 0, fmt.Errorf("none of %d jobs was handled within %v", n, patience)
		}
	}
}

// patience is how long a first job is waited for.
const patience = 5 * time.Minute

func countHandled(agents []*process) (handled int, err error) {
	for _, p := range agents {
		said, err := p.ask(request{Do: doHandled})
		if err != nil {
			return 0, err
		}
		handled += said.N
	}
	return handled, nil
}

// warm is how many jobs are handled before a measure of latency.
const warm = 20

// warmWorker starts a worker with room for n calls and has it handle some jobs.
func (b *bench) warmWorker(ctx context.Context, adder *process, n int) (*process, error) {
	p, err := b.openAgent(ctx)
	if err != nil {
		return nil, err
	}
	how := manner{Mode: quickest, Width: 1}
	if _, err := p.ask(request{Do: doWork, N: warm + n, manner: how}); err != nil {
		return nil, err
	}
	if _, err := adder.ask(request{Do: doFill, N: warm, Batch: warm}); err != nil {
		return nil, err
	}
	handled, err := awaitHandled(ctx, warm, patience, p)
	if err == nil && handled < warm {
		err = fmt.Errorf("%d of the first %d jobs were handled within %v", handled, warm, patience)
	}
	return p, err
}

// startTimes returns when the handler was called for each of the n jobs after the first. Those that were not handled
// count as started now.
func startTimes(p *process, n int) ([]int64, error) {
	said, err := p.ask(request{Do: doCalls, Every: 1})
	if err != nil {
		return nil, err
	}
	started := make([]int64, n)
	for i := range said.Jobs[min(warm, len(said.Jobs)):] {
		if job := said.Jobs[warm+i]; job < n && started[job] == 0 {
			started[job] = said.At[warm+i]
		}
	}
	for i, at := range started {
		if at == 0 {
			started[i] = now()
		}
	}
	return started, nil
}

// holdSnapshot opens a transaction that keeps every dead row and index entry of this database alive.
func (b *bench) holdSnapshot(ctx context.Context) (release func() error, err error) {
	conn, err := pgx.ConnectConfig(ctx, b.server.pool.Config().ConnConfig)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
	return func() error { return conn.Close(context.WithoutCancel(ctx)) }, err
}

// sizes say how much work a row is.
type sizes struct {
	drain         int           // tasks of the drain
	drainFor      time.Duration // at most
	snapshot      int           // tasks of the drain under a snapshot
	snapshotFor   time.Duration // at most
	addFor        time.Duration // enqueues in transactions
	paceFor       time.Duration // enqueues at a rate
	due           int           // tasks that become due
	dueFrom       time.Duration // from now to the first of them
	dueFor        time.Duration // from the first to the last
	idleWarm      time.Duration // before the idle time that is measured
	idleFor       time.Duration
	starts        int
	events        int // that are published, 1,000 a transaction
	subscribedFor time.Duration
}

// usualSizes make a round of about eight minutes.
var usualSizes = sizes{
	drain: 100_000, drainFor: 6 * time.Second,
	snapshot: 200_000, snapshotFor: 12 * time.Second,
	addFor:  1500 * time.Millisecond,
	paceFor: 5 * time.Second,
	due:     1_000, dueFrom: 2 * time.Second, dueFor: 5 * time.Second,
	idleWarm: 3 * time.Second, idleFor: 10 * time.Second,
	starts: 3,
	events: 50_000, subscribedFor: 12 * time.Second,
}

// scaled is a part of the work. The limits stay.
func (s sizes) scaled(by float64) sizes {
	n := func(v int) int { return max(int(float64(v)*by), 10) }
	d := func(v time.Duration) time.Duration { return max(time.Duration(float64(v)*by), 100*time.Millisecond) }
	return sizes{
		drain: n(s.drain), drainFor: s.drainFor, snapshot: n(s.snapshot), snapshotFor: s.snapshotFor,
		addFor: d(s.addFor), paceFor: d(s.paceFor), due: n(s.due), dueFrom: d(s.dueFrom), dueFor: d(s.dueFor),
		idleWarm: d(s.idleWarm), idleFor: d(s.idleFor), starts: max(int(float64(s.starts)*by), 1),
		events: n(s.events), subscribedFor: s.subscribedFor,
	}
}
