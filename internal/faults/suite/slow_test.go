package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// everySlow is in how many rounds one has a slow fault besides.
const everySlow = 4

// slow are faults that take a second or more. They are drawn with -slow alone.
var slow = []fault{
	{"failover to a lagging standby", failOverToLagging},
	{"failover to a synchronous standby", failOverToSynchronous},
	{"dump and restore", dumpAndRestore},
	{"the disk is full", fillDisk},
	{"the queue of NOTIFY is full", fillNotifyQueue},
	{"the clock is an hour off", setClock},
	{"transaction ids skip 2^32", skipTransactionIDs},
}

// errUnable is the error of a fault that this machine or this server does not have.
var errUnable = errors.New("left out")

func unable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnable, fmt.Sprintf(format, args...))
}

// lapse is a time of which the database may have lost what was committed.
type lapse struct{ from, to time.Time }

// goesBack does what takes the database back to the moment at which it is called, and remembers it for the checker.
func (r *round) goesBack(from time.Time, fn func() error) error {
	r.server.Lock()
	defer r.server.Unlock()
	r.crashed = true
	err := fn()
	r.lapses = append(r.lapses, lapse{from, time.Now()})
	return err
}

// mayBeLost reports whether an intent was answered in a time of which the database may have lost something.
func (r *round) mayBeLost(i *intent) bool {
	for _, l := range r.lapses {
		if i.answered.After(l.from) && i.sent.Before(l.to) {
			return true
		}
	}
	return false
}

// A copy of the server that was behind takes its place.
func failOverToLagging(ctx context.Context, r *round) error {
	from := time.Now()
	if err := r.lab.server.CopyData(ctx); err != nil {
		return err
	}
	r.sleep(500)
	return r.goesBack(from, func() error {
		if err := r.lab.server.StopServer(ctx); err != nil {
			return err
		}
		return r.lab.promoteCopy(ctx)
	})
}

// promoteCopy starts what was copied in the place of the server, which is stopped, and promotes it.
func (l *lab) promoteCopy(ctx context.Context) error {
	if err := l.server.UseCopy(true); err != nil {
		return err
	}
	if err := l.server.StartServer(ctx); err != nil {
		return err
	}
	return l.exec(ctx, l.server.DSN(), `SELECT pg_promote()`)
}

// exec executes statements one after the other on a connection of its own.
func (l *lab) exec(ctx context.Context, dsn string, statements ...string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// A standby that every commit has waited for takes the server's place: nothing is lost but what a crash loses too.
func failOverToSynchronous(ctx context.Context, r *round) error {
	server := r.lab.server
	if err := r.lab.followed(ctx); err != nil {
		return err
	}
	r.sleep(500)
	r.server.Lock()
	defer r.server.Unlock()
	r.crashed = true
	if err := errors.Join(server.StopServer(ctx), server.StopStandby()); err != nil {
		return err
	}
	return r.lab.promoteCopy(ctx)
}

// followed gives the server a synchronous standby, or leaves nothing of it.
func (l *lab) followed(ctx context.Context) (err error) {
	if err := l.server.CopyData(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.server.StopStandby(), await(settling, "nobody waits for the standby",
				func() (string, bool) {
					err := l.exec(ctx, l.server.DSN(), `ALTER SYSTEM RESET synchronous_standby_names`,
						`SELECT pg_reload_conf()`)
					return fmt.Sprint(err), err == nil
				}))
		}
	}()
	if err := l.server.StartStandby(ctx); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, l.server.DSN())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `ALTER SYSTEM SET synchronous_standby_names = '*'`); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	return await(settling, "the standby is synchronous", func() (string, bool) {
		var n int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`).Scan(&n)
		return fmt.Sprint(n, err), n == 1
	})
}

// The server ends in good order, and its next transaction id is 2^32 higher.
func skipTransactionIDs(ctx context.Context, r *round) error {
	r.server.Lock()
	defer r.server.Unlock()
	return r.lab.server.SkipTransactionIDs(ctx)
}

// The server's clock goes wrong with a restart, and is right again after another.
func setClock(ctx context.Context, r *round) error {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1") // the only error is a malformed pattern
	if len(found) == 0 {
		return unable("libfaketime is not installed")
	}
	off := []string{"+1h", "-1h"}[r.intN(2)]
	r.server.Lock()
	r.clockMoved = true
	r.server.Unlock()
	if err := r.restart(ctx, "LD_PRELOAD="+found[0], "FAKETIME="+off, "FAKETIME_DONT_FAKE_MONOTONIC=1"); err != nil {
		return err
	}
	r.sleep(800)
	if err := r.restart(ctx); err != nil {
		return err
	}
	// A delay that was asked for while the clock was ahead is kept: docs/reliability.md says how a person ends it.
	return r.exec(ctx, `UPDATE public.strunk_tasks SET due_at = now()
		WHERE queue = 'delayed' AND status = 'scheduled' AND due_at > now() + interval '1 min'`)
}

// restart crashes the server and starts it again with an environment.
func (r *round) restart(ctx context.Context, env ...string) error {
	r.server.Lock()
	defer r.server.Unlock()
	r.crashed = true
	_ = r.lab.server.StopServer(ctx) // fails when it has ended by itself
	return r.lab.server.StartServerWith(ctx, env...)
}

// The disk of the server has no room for anything more, not even for its WAL.
func fillDisk(ctx context.Context, r *round) error {
	if r.lab.disk == "" {
		return unable("no file system can be mounted here")
	}
	ballast := filepath.Join(r.lab.disk, "ballast")
	r.server.Lock()
	r.crashed = true // the server may panic
	r.server.Unlock()
	if err := fill(ballast); err != nil {
		return err
	}
	r.sleep(1000)
	if err := os.Remove(ballast); err != nil {
		return err
	}
	return r.revive(ctx)
}

// revive starts the server again where it has ended by itself.
func (r *round) revive(ctx context.Context) error {
	r.server.Lock()
	defer r.server.Unlock()
	if r.lab.exec(ctx, r.lab.server.DSN(), `SELECT 1`) == nil {
		return nil
	}
	_ = r.lab.server.StopServer(ctx) // it may be down already
	return r.lab.server.StartServer(ctx)
}

// fill writes a file until there is no room.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}
