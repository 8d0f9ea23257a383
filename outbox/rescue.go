package outbox

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// rescueChunk and rescueBytes bound the tasks that one transaction gives back. Those whose attempts are spent are
	// moved, payloads and all.
	rescueChunk = 1000
	rescueBytes = 8 << 20
	// looksPerLease is how often within a lease the rescue looks at the heartbeats, at most every
	// maxRescueInterval: what it sees late adds to the time until a dead worker's tasks are
	// redelivered.
	looksPerLease     = 10
	minRescueInterval = 20 * time.Millisecond
	maxRescueInterval = 2 * time.Second
	// adoptEvery is how often the rescue looks for claimed tasks whose worker has no row; where a row has
	// vanished since the last look it does so at once, but not more often than every adoptPause.
	adoptEvery = time.Minute
	adoptPause = 5 * time.Second
	// maxTakers bounds the workers that are rescued at once, each over a connection of its own.
	maxTakers = 4
)

// heartbeatWatch is what the rescue knows of one worker's heartbeat.
type heartbeatWatch = core.HeartbeatWatch[int64]

// rescuer watches the heartbeats of all workers.
type rescuer struct {
	box         *Box
	maintenance *control
	report      loopReport
	seen        map[int64]*heartbeatWatch // of the workers at the last successful look
	// adopted is when this process last looked for claimed tasks without a worker; vanished says that
	// the row of a worker has gone since.
	adopted  time.Time
	vanished bool

	takers   sync.WaitGroup
	mu       sync.Mutex
	taking   map[int64]struct{} // workers whose tasks are being given back
	problems []error            // of takers, since the last look
}

type workerRow struct {
	ID        int64
	Heartbeat int64
	LeaseMS   int64
	Expired   bool
}

func (r *rescuer) run(ctx context.Context) {
	r.taking = map[int64]struct{}{}
	defer r.takers.Wait()
	for ctx.Err() == nil {
		pause, err := r.look(ctx)
		if err != nil && ctx.Err() == nil {
			r.box.cfg.Logger.Warn("strunk: the rescue failed; trying again", "error", err)
		}
		r.report.ran(ctx, r.box, r.maintenance, maxRescueInterval, err)
		core.Sleep(ctx, r.box.rhythm.Pause(pause, maxRescueInterval))
	}
}

// sqlWorkers reads all heartbeats; it locks nothing.
const sqlWorkers = `SELECT id, heartbeat, lease_ms::bigint, expired FROM {schema}.strunk_workers`

// look reads the heartbeats once, rescues whose lease is over, and returns how long to wait.
func (r *rescuer) look(ctx context.Context) (time.Duration, error) {
	err := r.adopt(ctx)
	var workers []workerRow
	if err == nil {
		workers, err = r.workers(ctx)
	}
	if err != nil {
		clear(r.seen) // an outage expires no lease: every lease is counted anew
		return maxRescueInterval, err
	}
	gone, pause := r.observe(workers, time.Now())
	for _, w := range gone {
		r.begin(ctx, w)
	}
	return pause, r.failed()
}

func (r *rescuer) workers(ctx context.Context) (workers []workerRow, err error) {
	err = r.maintenance.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, r.box.sql(sqlWorkers))
		if err != nil {
			return err
		}
		workers, err = pgx.CollectRows(rows, pgx.RowToStructByPos[workerRow])
		return err
	})
	return workers, err
}

// sqlAdopt gives claimed tasks without a worker one whose lease is over.
const sqlAdopt = `SELECT {schema}.strunk_adopt_orphans()`

// mustAdopt reports whether it is time to look for claimed tasks without a worker.
func (r *rescuer) mustAdopt(now time.Time) bool {
	since := now.Sub(r.adopted)
	return since >= adoptEvery || r.vanished && since >= adoptPause
}

// adopt looks, now and then, for claimed tasks whose worker's row somebody has deleted. Beside a busy
// queue that takes 0.1 s of the server: the index of claimed tasks is full of entries of ended ones.
func (r *rescuer) adopt(ctx context.Context) error {
	if !r.mustAdopt(time.Now()) {
		return nil
	}
	n, err := queryControl[int64](ctx, r.maintenance, r.box.sql(sqlAdopt))
	if err != nil {
		return err
	}
	r.adopted, r.vanished = time.Now(), false
	if n > 0 {
		r.box.cfg.Logger.Warn("strunk: claimed tasks had a worker without a row in strunk_workers; they are given "+
			"back", "workers", n)
	}
	return nil
}

// begin has a taker give a worker's tasks back, unless one does, or as many as may are under way:
// the next look comes soon. A taker may wait for somebody's lock on a task, and has a connection of
// its own, so that neither the looks nor the rescue of another worker wait with it.
func (r *rescuer) begin(ctx context.Context, w workerRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.taking[w.ID]; there || len(r.taking) >= maxTakers {
		return
	}
	r.taking[w.ID] = struct{}{}
	r.takers.Go(func() {
		conn := newControl(r.box)
		defer conn.close()
		err := r.take(ctx, conn, w)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.taking, w.ID)
		if err != nil {
			r.problems = append(r.problems, err)
		}
	})
}

// failed returns what went wrong with takers since it was called last.
func (r *rescuer) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.problems...)
	r.problems = nil
	return err
}

// observe compares heartbeats with those seen before, and returns the workers that are gone and when to look again.
func (r *rescuer) observe(workers []workerRow, now time.Time) (gone []workerRow, pause time.Duration) {
	pause = maxRescueInterval
	for _, w := range workers {
		pause = min(pause, max(minRescueInterval, w.lease()/looksPerLease))
	}
	planned := pause
	next := make(map[int64]*heartbeatWatch, len(workers))
	for _, w := range workers {
		watch := cmp.Or(r.seen[w.ID], &heartbeatWatch{})
		next[w.ID] = watch
		left := w.lease() - watch.Look(now, planned, w.Heartbeat)
		if w.Expired || left <= 0 {
			gone = append(gone, w)
		} else {
			pause = min(pause, max(left, minRescueInterval))
		}
	}
	for id := range r.seen {
		r.vanished = r.vanished || next[id] == nil
	}
	r.seen = next
	return gone, pause
}

func (w workerRow) lease() time.Duration { return time.Duration(w.LeaseMS) * time.Millisecond }

func (r *rescuer) take(ctx context.Context, conn *control, w workerRow) error {
	if !w.Expired {
		if err := expireLease(ctx, r.box, conn, w.ID, &w.Heartbeat); err != nil {
			return err
		}
	}
	return rescue(ctx, r.box, conn, w.ID)
}

const (
	// sqlExpireLease takes the lease of worker $1 away if its heartbeat stands at $2 (or whatever it is).
	sqlExpireLease = `SELECT {schema}.strunk_expire_lease($1::bigint, $2::bigint)`
	// sqlRescue gives back up to $2 tasks of an expired worker $1, of up to $3 bytes.
	sqlRescue = `SELECT id, queue, status FROM {schema}.strunk_rescue($1::bigint, $2::integer, $3::bigint)`
)

func expireLease(ctx context.Context, b *Box, c *control, worker int64, heartbeat *int64) error {
	return c.autocommit(ctx, core.Statement{SQL: b.sql(sqlExpireLease), Args: []any{worker, heartbeat}})
}

// rescue gives back the tasks of an expired worker, chunk by chunk, and removes its row at the end.
// Whoever looks next continues a rescue that was cut short: the expired row is still there.
func rescue(ctx context.Context, b *Box, c *control, worker int64) error {
	limit, total := core.NewBatchLimit(rescueChunk, rescueBytes), 0
	for {
		n, queue, dead, err := rescueOnce(ctx, b, c, worker, limit)
		if b.halved(ctx, "giving tasks back", limit, err) {
			continue
		}
		if err != nil {
			return err
		}
		limit.Succeeded()
		b.tasksDied(ctx, dead)
		if n == 0 {
			break
		}
		total += n
		b.wake([]string{core.TopicQueue(queue)})
	}
	if total > 0 {
		b.cfg.Logger.Warn("strunk: gave back the tasks of a worker whose heartbeat had stopped", "worker", worker,
			"tasks", total)
	}
	return nil
}

func rescueOnce(ctx context.Context, b *Box, c *control, worker int64, limit *core.BatchLimit) (
	n int, queue string, dead []int64, err error,
) {
	rows, bytes := limit.Now()
	err = c.autocommit(ctx, core.Statement{SQL: b.sql(sqlRescue), Args: []any{worker, rows, bytes},
		Scan: func(rows pgx.Rows) error {
			n, dead = 0, nil
			var id int64
			var status string
			_, err := pgx.ForEachRow(rows, []any{&id, &queue, &status}, func() error {
				n++
				if status == "dead" {
					dead = append(dead, id)
				}
				return nil
			})
			return err
		}})
	return n, queue, dead, err
}

// tasksDied tells the extensions of tasks that became dead letters with their worker.
func (b *Box) tasksDied(ctx context.Context, ids []int64) {
	tellExtensions(b, ids, func(h core.DeadLetterHook) {
		h.DeadLettered(context.WithoutCancel(ctx), host{b}, ids)
	})
}

// tasksLate tells the extensions of tasks that ended because they had not begun in time.
func (b *Box) tasksLate(ctx context.Context, ids []int64) {
	tellExtensions(b, ids, func(h core.LateHook) { h.TasksLate(context.WithoutCancel(ctx), host{b}, ids) })
}

// tellExtensions tells extensions of a kind about tasks. They call the user's code, which must not
// delay the loop that calls them.
func tellExtensions[Hook any](b *Box, ids []int64, tell func(Hook)) {
	if len(ids) == 0 {
		return
	}
	for _, values := range b.extensions {
		for _, v := range values {
			if hook, ok := v.(Hook); ok {
				go tell(hook)
			}
		}
	}
}
