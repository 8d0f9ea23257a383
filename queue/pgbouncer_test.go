//go:build unix

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Everything works by polling alone, through a real PgBouncer in transaction mode: no statement leans on a session.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode   pgx.QueryExecMode
		reason string
	}{
		{pgx.QueryExecModeCacheDescribe, "what the guide recommends: no named statement"},
		{pgx.QueryExecModeExec, "no preparation at all"},
		{pgx.QueryExecModeSimpleProtocol, "text alone"},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			t.Parallel()
			direct := newBed(t)
			ledger(direct)
			dsn := startPgBouncer(t, outboxtest.DSN(direct.pool))
			cfg, err := pgxpool.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			cfg.ConnConfig.DefaultQueryExecMode, cfg.MaxConns = c.mode, 12
			pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			everything(direct, bedOn(t, pool, outbox.Config{PollOnly: true, PollInterval: 20 * time.Millisecond}))
			if n := value[int](direct, `SELECT count(*) FROM pg_stat_activity
				WHERE application_name = 'through-pgbouncer' AND datname = current_database()`); n == 0 || n > pooled {
				t.Errorf("%d connections of the pooler; want 1 to %d, shared by all", n, pooled)
			}
		})
	}
}

// everything uses each statement of the queue once.
func everything(direct, b *bed) {
	t := b.t
	t.Helper()
	plain := queue.Define[note]("plain", queue.Config{Retry: atOnce, MaxAttempts: 2})
	inTx := queue.Define[note]("in-tx", queue.Config{})
	result := sums(queue.Config{})
	cancelled := make(chan int64, 1)
	stop := b.run(
		plain.Worker(func(ctx context.Context, task queue.Task[note]) error {
			switch {
			case task.Payload.Text == "cancel":
				cancelled <- task.ID
				<-ctx.Done()
				return ctx.Err()
			case task.Payload.Text == "dead", task.Payload.Text == "retried" && task.Attempt == 1:
				return errors.New("no")
			}
			return queue.Report(ctx, 50, "half")
		}, queue.Inbox("plain")),
		inTx.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
			if _, err := plain.Enqueue(ctx, tx, note{"follow-up"}); err != nil {
				return err
			}
			return write(ctx, tx, task)
		}, queue.Inbox("in-tx")),
		result.Worker(add),
	)
	many := putMany(b, plain, 50)
	retried, dead := put(b, plain, note{"retried"}, queue.Delay(10*time.Millisecond),
		queue.Metadata(map[string]string{"a": "b"})), put(b, plain, note{"dead"})
	txID, dup := put(b, inTx, note{"x"}, queue.DedupKey("k"), queue.Timeout(time.Minute)),
		put(b, plain, note{"x"}, queue.Dedup("k", queue.ReplaceWaiting))
	sumID, doomed := put(b, result.Queue, []int{20, 22}), put(b, plain, note{"cancel"})
	receive(t, "the task to cancel runs", cancelled)
	if state, err := plain.Cancel(context.Background(), b.box, doomed, "because"); state != queue.CancelRequested ||
		err != nil {
		t.Errorf("cancel: %v, %v", state, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if s, err := result.Wait(ctx, b.box, sumID); s.Total != 42 || err != nil {
		t.Errorf("result %+v, %v", s, err)
	}
	for _, id := range append(many, retried, dup) {
		reach(b, plain, id, queue.StatusDelivered)
	}
	reach(b, inTx, txID, queue.StatusDelivered)
	reach(b, plain, dead, queue.StatusDead)
	reach(b, plain, doomed, queue.StatusCancelled)
	if n := value[int](direct, `SELECT count(*) FROM public.ledger`); n != 1 {
		t.Errorf("%d effects of the handler in a transaction; want 1", n)
	}
	if err := plain.Pause(ctx, b.box); err != nil {
		t.Error(err)
	}
	if err := plain.Resume(ctx, b.box); err != nil {
		t.Error(err)
	}
	if n, err := queue.RetryDead(ctx, b.box, outbox.DeadFilter{IDs: []int64{dead}}); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	if n, err := queue.PurgeDead(ctx, b.box, outbox.DeadFilter{Status: outbox.EndedCancelled,
		Error: "cancelled: because"}); n != 1 || err != nil {
		t.Errorf("purge: %d, %v", n, err)
	}
	stop()
	handClaimed, err := inTx.Claim(ctx, b.box, 1)
	if err != nil || len(handClaimed.Tasks) != 0 {
		t.Errorf("claim by hand: %+v, %v", handClaimed, err)
	}
	if n := value[int](direct, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows are left after the stop", n)
	}
}

// pooled is how many connections the pooler has to the server.
const pooled = 4

// startPgBouncer starts a pooler in transaction mode before a database and returns its DSN. It refuses to run as root.
func startPgBouncer(t *testing.T, dsn string) string {
	t.Helper()
	program := testkit.Program(t, "pgbouncer", "/usr/sbin/pgbouncer")
	to, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "strunk-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := pgserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("host=%s port=%d dbname=%s user=%s", to.Host, to.Port, to.Database, to.User)
	if to.Password != "" {
		target += " password=" + to.Password
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
pooled = %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
`, target, port, pooled)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, config)
	var out logs
	cmd.Stdout, cmd.Stderr = &out, &out
	unprivileged(t, cmd, dir)
	if err := cmd.Start(); err != nil {
		t.Fatalf("pgbouncer: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pgbouncer said:\n%s", &out)
		}
	})
	through := url.URL{Scheme: "postgres", User: url.User(to.User), Host: "127.0.0.1:" + strconv.Itoa(port),
		Path:     "/pooled",
		RawQuery: "sslmode=disable&application_name=through-pgbouncer"}
	eventually(t, "pgbouncer answers", func() (string, bool) {
		conn, err := pgx.Connect(context.Background(), through.String())
		if err != nil {
			return err.Error() + "\n" + out.String(), false
		}
		return "", conn.Close(context.Background()) == nil
	})
	return through.String()
}

// unprivileged has a command run as another user where this is root, and lets that user into dir.
func unprivileged(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Getuid() != 0 {
		return
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return
	}
	t.Fatal("pgbouncer refuses to run as root, and there is neither a user postgres nor nobody")
}
