package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// heartbeatsPerLease is how many heartbeats fit into a lease.
	heartbeatsPerLease   = 6
	minHeartbeatInterval = 20 * time.Millisecond
	maxHeartbeatInterval = 5 * time.Second
	// minHeartbeatTimeout is how long one heartbeat may take at least before its connection is given up; a
	// third of the shortest lease where that is longer.
	minHeartbeatTimeout = time.Second
)

// leases renews all lease rows of this process with one statement.
type leases struct {
	box               *Box
	heartbeats        *control // nothing but heartbeats: nothing may delay them
	maintenance       *control
	added, compareNow chan struct{}
	adding            chan struct{} // one lease after the other: many queues need one connection to start

	mu   sync.Mutex
	held map[int64]*lease
}

func newLeases(b *Box, maintenance *control) *leases {
	return &leases{box: b, heartbeats: newControl(b), maintenance: maintenance, added: make(chan struct{}, 1),
		compareNow: make(chan struct{}, 1), adding: make(chan struct{}, 1), held: map[int64]*lease{}}
}

// lease is one row of strunk_workers.
type lease struct {
	owner *leases
	id    int64
	spec  core.LeaseSpec
	lost  chan struct{}

	mu    sync.Mutex
	void  int64 // claims up to here must be voided; 0 when none
	stuck bool  // see LeaseSpec.Stuck; of the heartbeat loop alone
	last  int64 // the last heartbeat that was answered; of the heartbeat loop alone
	clean int64 // the low number of the last comparison; of the loop of comparisons alone
}

func (l *lease) ID() int64             { return l.id }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Void implements core.Lease.
func (l *lease) Void(number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.void = max(l.void, number)
	signal(l.owner.compareNow)
}

// Compare implements core.Lease.
func (l *lease) Compare() { signal(l.owner.compareNow) }

func (l *lease) voiding() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.void
}

func (l *lease) voided(number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.void == number {
		l.void = 0
	}
}

// sqlAddWorker makes a lease row; the id is random, so that a token is never used twice.
const sqlAddWorker = `INSERT INTO {schema}.strunk_workers (id, lease_ms, pid, concurrency, queue, host, writes_starts,
	release, library)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

func (ls *leases) add(ctx context.Context, spec core.LeaseSpec, before []core.Statement) (*lease, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	l := &lease{owner: ls, id: rand.Int64N(1<<62) + 1, spec: spec, lost: make(chan struct{})}
	row := core.Statement{SQL: ls.box.sql(sqlAddWorker),
		Args: []any{l.id, spec.Duration.Milliseconds(), os.Getpid(), spec.Concurrency, spec.Queue, host,
			spec.WritesStarts, core.Release(), core.LibraryVersion()}}
	if err := ls.write(ctx, append(slices.Clip(before), row)); err != nil {
		return nil, fmt.Errorf("strunk/outbox: lease for queue %q: %w", spec.Queue, err)
	}
	ls.mu.Lock()
	ls.held[l.id] = l
	ls.mu.Unlock()
	signal(ls.added)
	return l, nil
}

// write goes over the pool, whose connection is there already when a process starts; that of the maintenance is not.
func (ls *leases) write(ctx context.Context, statements []core.Statement) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	select {
	case ls.adding <- struct{}{}:
		defer func() { <-ls.adding }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return core.Write(ctx, ls.box.pool, statements...)
}

// heartbeatLoop sends heartbeats until ctx ends. The row of a new lease is fresh: its first heartbeat
// is due an interval later.
func (ls *leases) heartbeatLoop(ctx context.Context) {
	for next := time.Now().Add(ls.interval()); ctx.Err() == nil; {
		core.SleepOrWake(ctx, time.Until(next), ls.added)
		now := time.Now()
		if next = minTime(next, now.Add(ls.interval())); now.Before(next) {
			continue // leases were added: theirs may be shorter
		}
		if err := ls.heartbeat(ctx); err != nil && ctx.Err() == nil {
			ls.box.cfg.Logger.Warn("strunk: a heartbeat failed; trying again", "error", err)
		}
		next = time.Now().Add(ls.interval())
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (ls *leases) interval() time.Duration {
	shortest := maxHeartbeatInterval
	for _, l := range ls.all() {
		shortest = min(shortest, max(l.spec.Duration/heartbeatsPerLease, minHeartbeatInterval))
	}
	return shortest
}

func (ls *leases) all() []*lease {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]*lease, 0, len(ls.held))
	for _, l := range ls.held {
		all = append(all, l)
	}
	return all
}

// sqlHeartbeat renews the leases of workers ($1) and returns those that still have one. It locks
// their rows, which no claim waits for (FOR NO KEY UPDATE against FOR KEY SHARE).
//
// It returns the workers $2 too, where they have a lease, and does not renew those.
const sqlHeartbeat = `SELECT worker_id, heartbeat, server_started FROM {schema}.strunk_heartbeat($1::bigint[])
UNION ALL
SELECT id, heartbeat, pg_catalog.pg_postmaster_start_time() FROM {schema}.strunk_workers
WHERE id = ANY ($2::bigint[]) AND NOT expired`

func (ls *leases) heartbeat(ctx context.Context) error {
	before := ls.all()
	if len(before) == 0 {
		return nil
	}
	renewed, stuck := []int64{}, []int64{}
	for _, l := range before {
		if l.isStuck() {
			stuck = append(stuck, l.id)
		} else {
			renewed = append(renewed, l.id)
		}
	}
	// A connection that has gone silent must be given up while there is time for another.
	sent, cancel := context.WithTimeout(ctx, max(2*ls.interval(), minHeartbeatTimeout))
	defer cancel()
	alive, err := ls.send(sent, renewed, stuck)
	if err != nil {
		return err
	}
	behind := false
	for _, l := range before {
		heartbeat, there := alive[l.id]
		if !there {
			ls.lose(l)
			continue
		}
		behind = behind || heartbeat < l.last || (heartbeat == l.last && !l.stuck)
		l.last = heartbeat
	}
	if behind {
		ls.box.broke("a heartbeat in the database is below one that this process has written")
	}
	return nil
}

// isStuck asks whether the lease must not be renewed, and says so when that begins.
func (l *lease) isStuck() bool {
	before := l.stuck
	l.stuck = l.spec.Stuck != nil && l.spec.Stuck()
	if pool := l.owner.box.pool; l.stuck && !before {
		l.owner.box.cfg.Logger.Error("strunk: a worker does not get through to the database; its lease is not "+
			"renewed. "+
			"Does the application hold connections of the pool?", "queue", l.spec.Queue, "worker", l.id,
			"connections_in_use", pool.Stat().AcquiredConns(), "max_connections", pool.Config().MaxConns)
	}
	return l.stuck
}

// send sends one heartbeat of the workers, renewed and stuck, and returns those of the workers that still have a lease.
func (ls *leases) send(ctx context.Context, renewed, stuck []int64) (alive map[int64]int64, err error) {
	var started time.Time
	err = ls.heartbeats.autocommit(ctx, core.Statement{SQL: ls.box.sql(sqlHeartbeat), Args: []any{renewed, stuck},
		Scan: func(rows pgx.Rows) error {
			alive = map[int64]int64{}
			var id, heartbeat int64
			_, err := pgx.ForEachRow(rows, []any{&id, &heartbeat, &started}, func() error {
				alive[id] = heartbeat
				return nil
			})
			return err
		}})
	if err == nil && len(alive) > 0 {
		ls.box.answered(started)
	}
	return alive, err
}

func (ls *leases) lose(l *lease) {
	if ls.forget(l) {
		ls.box.cfg.Logger.Warn("strunk: a lease was lost; its handlers are being cancelled", "queue", l.spec.Queue,
			"worker", l.id)
		close(l.lost)
	}
}

func (ls *leases) forget(l *lease) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	_, had := ls.held[l.id]
	delete(ls.held, l.id)
	return had
}

// Release implements core.Lease. What is still claimed then can only be of claims whose answer was lost: it is given
// back unspent.
func (l *lease) Release(ctx context.Context) error {
	if !l.owner.forget(l) {
		return nil // lost: the rescue has it
	}
	b, c := l.owner.box, l.owner.maintenance
	if err := expireLease(ctx, b, c, l.id, nil); err != nil {
		return fmt.Errorf("strunk/outbox: releasing the lease of queue %q: %w", l.spec.Queue, err)
	}
	open, err := openClaims(ctx, b, c, []int64{l.id}, []int64{-1})
	if claims := open[l.id]; err == nil && len(claims) > 0 {
		_, err = c.queryInt64s(ctx, b.sql(sqlReturn), l.id, claims)
	}
	if err == nil {
		err = rescue(ctx, b, c, l.id)
	}
	if err != nil {
		return fmt.Errorf("strunk/outbox: releasing the lease of queue %q: %w", l.spec.Queue, err)
	}
	return nil
}
