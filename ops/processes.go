package ops

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// RunningTask is a task that a worker has begun and not ended.
type RunningTask struct {
	ID      int64  `json:"id"`
	Queue   string `json:"queue"`
	Worker  int64  `json:"worker,string"`
	Attempt int    `json:"attempt"`
	// ClaimedAt is when its worker took it, and For how long ago: how long it runs at the most.
	ClaimedAt time.Time `json:"claimed_at"`
	For       Duration  `json:"running_seconds"`
}

// sqlRunning reads at most $2 tasks of queue $1 (null: any) that have begun, the one that runs longest first. It
// locks nothing.
const sqlRunning = `SELECT r.id, r.queue, r.worker_id, r.claimed_at,
	(extract(epoch FROM r.running_for) * 1000000)::bigint, r.attempt
FROM {schema}.strunk_running_tasks($1::text, $2::integer) r`

// RunningTasks returns the tasks of a queue (empty: of all) that run longest, the longest first: at most most, up to
// MaxLimit; zero means DefaultLimit. Of each worker, the twenty that it has had longest are looked at. Errors:
// [ErrInvalid].
func RunningTasks(ctx context.Context, box *outbox.Box, queue string, most int) (all []RunningTask, err error) {
	n, err := limit(most)
	if err == nil {
		err = texts(queue)
	}
	if err == nil {
		err = ask(ctx, box, many(&all, sqlRunning, []any{orNull(queue), n}, scanRunning))
	}
	return all, wrap("running tasks", err)
}

func scanRunning(rows pgx.Rows) (r RunningTask, err error) {
	var span int64
	err = rows.Scan(&r.ID, &r.Queue, &r.Worker, &r.ClaimedAt, &span, &r.Attempt)
	r.For = micros(span)
	return r, err
}

// Process is one process that works queues, with all its workers.
type Process struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// Release is the version of the program, Library that of strunk in it.
	Release string `json:"release"`
	Library string `json:"library"`
	// StartedAt is when the first of its workers began.
	StartedAt time.Time `json:"started_at"`
	// Slots is how many tasks it handles at once.
	Slots int `json:"slots"`
	// Workers are its leases, one for each worker of a queue, by queue.
	Workers []Worker `json:"workers"`
	// Running are its tasks that run longest, the longest first.
	Running []RunningTask `json:"running"`
}

// SilentFor is how long ago the last heartbeat was of the worker that has been silent for longest.
func (p Process) SilentFor() (d time.Duration) {
	for _, w := range p.Workers {
		d = max(d, w.SilentFor.Duration)
	}
	return d
}

// Queues are the names of the queues that it works, in order.
func (p Process) Queues() (all []string) {
	for _, w := range p.Workers {
		if !slices.Contains(all, w.Queue) {
			all = append(all, w.Queue)
		}
	}
	return all
}

// Processes returns the processes that work a queue (empty: any), by host and pid: those of the first MaxLimit
// workers. Errors: [ErrInvalid].
func Processes(ctx context.Context, box *outbox.Box, queue string) ([]Process, error) {
	workers, err := Workers(ctx, box, WorkerFilter{Queue: queue, Limit: MaxLimit})
	if err != nil {
		return nil, err
	}
	running, err := RunningTasks(ctx, box, queue, MaxLimit)
	if err != nil {
		return nil, err
	}
	return processesOf(workers, running), nil
}

// runningPerProcess bounds Process.Running.
const runningPerProcess = 5

func processesOf(workers []Worker, running []RunningTask) []Process {
	all, of := []Process{}, map[int64]int{}
	slices.SortFunc(workers, compareWorkers)
	for _, w := range workers {
		n := len(all) - 1
		if n < 0 || all[n].Host != w.Host || all[n].PID != w.PID {
			all = append(all, Process{Host: w.Host, PID: w.PID, Release: w.Release, Library: w.Library,
				StartedAt: w.StartedAt, Running: []RunningTask{}})
			n++
		}
		p := &all[n]
		p.Workers, p.Slots = append(p.Workers, w), p.Slots+w.Concurrency
		if w.StartedAt.Before(p.StartedAt) {
			p.StartedAt = w.StartedAt
		}
		of[w.ID] = n
	}
	for _, r := range running {
		if n, ok := of[r.Worker]; ok && len(all[n].Running) < runningPerProcess {
			all[n].Running = append(all[n].Running, r)
		}
	}
	return all
}

func compareWorkers(a, b Worker) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Queue, b.Queue),
		cmp.Compare(a.ID, b.ID))
}
