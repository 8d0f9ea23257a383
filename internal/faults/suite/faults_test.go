package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// kind names a kind of fault.
type kind string

// fault is something that goes wrong, or that somebody does. What it has broken it mends itself before it returns.
type fault struct {
	kind kind
	do   func(ctx context.Context, r *round) error
}

// breaks sends statements, and waits before it sends those that mend.
func breaks(k kind, statement, mend string) fault {
	return fault{k, func(ctx context.Context, r *round) error {
		if err := r.exec(ctx, statement); err != nil || mend == "" {
			return err
		}
		r.sleep(500)
		return r.exec(ctx, mend)
	}}
}

// setting breaks a setting of the database, for connections that are made from now on.
func setting(k kind, name, value string) fault {
	return fault{k, func(ctx context.Context, r *round) error {
		if err := r.exec(ctx, fmt.Sprintf(`ALTER DATABASE %s SET %s = '%s'`, r.database, name, value)); err != nil {
			return err
		}
		if err := r.exec(ctx, sqlEndBackends); err != nil {
			return err
		}
		r.sleep(600)
		if err := r.exec(ctx, fmt.Sprintf(`ALTER DATABASE %s RESET %s`, r.database, name)); err != nil {
			return err
		}
		return r.exec(ctx, sqlEndBackends)
	}}
}

// lost loses the answer to the next statements with this text, or the statements.
func lost(k kind, text string, action faults.Action) fault {
	return fault{k, func(_ context.Context, r *round) error {
		for range 3 {
			r.links[r.intN(len(r.links))].Set(text, action)
		}
		return nil
	}}
}

// sqlEndBackends ends every connection to the database but those that the round uses itself.
const sqlEndBackends = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name <> 'suite' AND pid <> pg_backend_pid()`

const (
	// sqlDetachDay takes the partition of the tasks that are delivered today away.
	sqlDetachDay = `DO $$ BEGIN EXECUTE format(
		'ALTER TABLE public.strunk_outbox_delivered_tasks DETACH PARTITION public.%I',
		'strunk_outbox_delivered_tasks_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$`
	// sqlDropDayAhead drops the partition of a day to come.
	sqlDropDayAhead = `DO $$ BEGIN EXECUTE format('DROP TABLE public.%I',
		'strunk_outbox_delivered_tasks_' || to_char(now() AT TIME ZONE 'UTC' + interval '2 days', 'YYYYMMDD')); END $$`
)

// backends draws up to n server processes that serve the database's clients.
func (r *round) backends(ctx context.Context, n int) (pids []int, err error) {
	rows, err := r.pool.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE datname = current_database()
		AND application_name <> 'suite' AND pid <> pg_backend_pid() ORDER BY pid`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int])
	for range min(n, len(all)) {
		i := r.intN(len(all))
		pids, all = append(pids, all[i]), slices.Delete(all, i, i+1)
	}
	return pids, err
}

// killProcess ends a process as SIGKILL does.
func killProcess(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// quick are the faults that a round draws from.
var quick = []fault{
	{"a process is killed", func(_ context.Context, r *round) error {
		i := r.intN(len(r.children))
		r.child(i).Kill()
		r.sleep(300)
		r.spawn(i)
		return nil
	}},
	{"a process is frozen", func(_ context.Context, r *round) error {
		c := r.child(r.intN(len(r.children)))
		if err := c.Freeze(); err != nil {
			return nil // it was killed meanwhile
		}
		r.sleep(2500)
		_ = c.Wake()
		return nil
	}},
	{"the server crashes", func(ctx context.Context, r *round) error {
		r.server.Lock()
		defer r.server.Unlock()
		r.crashed = true
		if err := r.lab.server.StopServer(ctx); err != nil {
			return err
		}
		r.sleep(300)
		return r.lab.server.StartServer(ctx)
	}},
	{"a backend is killed", func(ctx context.Context, r *round) error {
		r.server.Lock()
		defer r.server.Unlock()
		r.crashed = true // the server ends all others too, and recovers
		pids, err := r.backends(ctx, 1)
		for _, pid := range pids {
			err = errors.Join(err, killProcess(pid))
		}
		return errors.Join(err, await(settling, "the server has recovered", func() (string, bool) {
			err := r.lab.exec(ctx, r.lab.server.DSN(), `SELECT 1`)
			return fmt.Sprint(err), err == nil
		}))
	}},
	{"backends are frozen", func(ctx context.Context, r *round) error {
		pids, err := r.backends(ctx, 3)
		for _, pid := range pids {
			if faults.FreezeProcess(pid) == nil {
				defer func() { _ = faults.WakeProcess(pid) }() // fails where a crash of the server has ended it
			}
		}
		r.sleep(1500)
		return err
	}},
	breaks("some backends end", sqlEndBackends+` AND random() < 0.5`, ""),
	breaks("a listener ends", sqlEndBackends+` AND query ILIKE 'LISTEN%'`, ""),
	{"links are cut", func(_ context.Context, r *round) error {
		r.links[r.intN(len(r.links))].CutAll()
		return nil
	}},
	{"a link is cut in the midst of an answer", func(_ context.Context, r *round) error {
		for range 3 {
			r.links[r.intN(len(r.links))].CutAfter(1 + r.intN(5000))
		}
		return nil
	}},
	{"a link holds everything", func(_ context.Context, r *round) error {
		l := r.links[r.intN(len(r.links))]
		l.Freeze()
		r.sleep(1000)
		l.Thaw()
		return nil
	}},
	{"a link is down", func(_ context.Context, r *round) error {
		l := r.links[r.intN(len(r.links))]
		l.Down()
		r.sleep(800)
		l.Up()
		return nil
	}},
	{"a link is slow", func(_ context.Context, r *round) error {
		l := r.links[r.intN(len(r.links))]
		l.SetRate(30_000)
		r.sleep(1000)
		l.SetRate(0)
		return nil
	}},
	lost("answers to COMMIT are lost", "commit", faults.CutBeforeAnswer),
	lost("COMMIT is lost", "commit", faults.Drop),
	lost("COMMIT is sent, and nobody waits", "commit", faults.CutClient),
	lost("answers to claims are lost", "strunk_claim", faults.CutBeforeAnswer),
	lost("answers to completions are lost", "strunk_complete", faults.CutBeforeAnswer),
	lost("answers to heartbeats are lost", "strunk_heartbeat", faults.CutBeforeAnswer),
	lost("answers to cursors are lost", "strunk_move_cursor", faults.CutBeforeAnswer),
	lost("answers to the relay are lost", "strunk_relay", faults.CutBeforeAnswer),
	setting("statements may take 20 ms", "statement_timeout", "20ms"),
	setting("locks may be waited for 5 ms", "lock_timeout", "5ms"),
	setting("transactions are serializable", "default_transaction_isolation", "serializable"),
	setting("transactions are read only", "default_transaction_read_only", "on"),
	breaks("leases are taken away", `SELECT public.strunk_expire_lease(id, NULL) FROM public.strunk_workers`, ""),
	breaks("worker rows are deleted", `DELETE FROM public.strunk_workers`, ""),
	breaks("queues are paused", `SELECT public.strunk_pause_all('the suite')`, `SELECT public.strunk_resume_all()`),
	breaks("priorities are edited", `UPDATE public.strunk_tasks SET priority = 9
		WHERE status IN ('pending', 'scheduled') AND queue <> 'in-order'`, ""),
	breaks("due times are edited", `UPDATE public.strunk_tasks SET due_at = now()
		WHERE status = 'scheduled' AND queue = 'delayed'`, ""),
	breaks("a subscriber is paused", `SELECT public.strunk_pause_subscriber('in-tx', true)`,
		`SELECT public.strunk_pause_subscriber('in-tx', false)`),
	{"a subscriber is replayed", func(ctx context.Context, r *round) error {
		return r.exec(ctx, `SELECT public.strunk_rewind('plain', 0, false)`)
	}},
	{"dead letters are retried", func(ctx context.Context, r *round) error {
		_, err := queue.RetryDead(ctx, r.box, outbox.DeadFilter{Queue: dyingQueue.Name()})
		return err
	}},
	breaks("the day's partition is detached", sqlDetachDay, `SELECT public.strunk_ensure_task_partitions()`),
	breaks("a partition ahead is dropped", sqlDropDayAhead, `SELECT public.strunk_ensure_task_partitions()`),
	{"a process has leaked its connections", func(_ context.Context, r *round) error {
		r.child(r.intN(len(r.children))).Tell(leakConnections)
		r.sleep(1500)
		return nil
	}},
	{"limits change", func(ctx context.Context, r *round) error {
		l := queue.Limits{Running: 1 + r.intN(atMost)}
		return limitedQueue.SetLimits(ctx, r.box, l)
	}},
	{"the broker is away", func(_ context.Context, r *round) error {
		r.broker.SetAway(true)
		r.sleep(1000)
		r.broker.SetAway(false)
		return nil
	}},
	{"answers of the broker are lost", func(_ context.Context, r *round) error {
		r.broker.LoseAnswers(1 + r.intN(40))
		return nil
	}},
	{"the broker is purged, and filled again", func(ctx context.Context, r *round) error {
		r.broker.Purge(sentTo)
		return r.exec(ctx, `SELECT public.strunk_rewind('`+forwarder+`', 0, false)`)
	}},
	{"a process is killed before it writes a cursor", func(_ context.Context, r *round) error {
		var waiting sync.WaitGroup
		for i, l := range r.links[:processes] {
			cursor := l.Set("strunk_move_cursor", faults.Drop)
			waiting.Go(func() {
				select {
				case <-cursor.Sprung(): // the handlers have returned, and the broker has answered
					r.child(i).Kill()
					r.spawn(i)
				case <-time.After(time.Second): // it owns no subscriber
				}
			})
		}
		waiting.Wait()
		return nil
	}},
}

// drawn is a fault and how long after the round's beginning it comes.
type drawn struct {
	fault
	after time.Duration
}

// draw draws the faults of a round.
func (r *round) draw(within time.Duration) (all []drawn) {
	one := func(of []fault) {
		if len(of) > 0 {
			f := of[r.intN(len(of))]
			all = append(all, drawn{f, time.Duration(r.intN(int(within)))})
		}
	}
	for range 2 + r.intN(5) {
		one(wanted(quick))
	}
	if *slowly && (r.intN(everySlow) == 0 || *only != "") {
		one(wanted(slow))
	}
	return all
}

// wanted are the faults that -only names.
func wanted(of []fault) []fault {
	return slices.DeleteFunc(slices.Clone(of), func(f fault) bool { return !strings.Contains(string(f.kind), *only) })
}

// inject does some faults, each at its own moment, and returns when all of them have been mended.
func (r *round) inject(ctx context.Context, within time.Duration) {
	for _, f := range r.draw(within) {
		r.busy.Go(func() {
			time.Sleep(f.after)
			r.say("%s", f.kind)
			switch err := f.do(ctx, r); {
			case errors.Is(err, errUnable), errors.Is(err, exec.ErrNotFound):
				r.lab.leaveOut(r.t, f.kind, err)
			case err != nil: // another fault was in its way
				r.say("%s: %v", f.kind, err)
				r.t.Logf("%s: %v", f.kind, err)
			default:
				r.count(f.kind)
			}
		})
	}
	r.busy.Wait()
}
