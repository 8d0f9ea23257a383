//go:build unix

package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestStartAgainAndCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	needServer(t)
	for range 2 {
		closeAndLook(t, startServer(t, Config{}, withoutURL()))
	}
}

// BenchmarkStart is what a test binary waits for before its first test: a start with the programs
// in the page cache, which ought to stay well under 3 s.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		closeAndLook(b, startServer(b, Config{}, withoutURL()))
	}
}

func closeAndLook(t testing.TB, server *Server) {
	t.Helper()
	dir := server.backend.(*cluster).dir
	if err := errors.Join(server.Close(), server.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s after Close: %v, want it removed", dir, err)
	}
	if left := processesOf(dir); len(left) > 0 {
		t.Errorf("processes after Close: %v", left)
	}
}

func TestStoppedServerKeepsItsDataAndCrashedOneIsRemoved(t *testing.T) {
	t.Parallel()
	server := startServer(t, Config{}, withoutURL())
	dsn, _, err := server.NewDatabase(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
	if err := server.StopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a stopped server accepts connections")
	}
	if err := server.StopServer(t.Context()); err == nil {
		t.Error("StopServer of a stopped server: no error")
	}
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.StartServer(t.Context()); err == nil {
		t.Error("StartServer of a running server: no error")
	}
	if got := query[int](t, dsn, "SELECT answer FROM kept"); got != 42 {
		t.Errorf("after a new start: %d, want 42", got)
	}
	if _, _, err := server.NewDatabase(t.Context(), ""); err != nil {
		t.Errorf("a database after the server was restarted: %v", err)
	}
	crash(t, server)
}

// crash ends a server behind our back; Close removes it all the same.
func crash(t *testing.T, server *Server) {
	t.Helper()
	c := server.backend.(*cluster)
	if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil { // SIGKILL would leave its shared memory
		t.Fatal(err)
	}
	<-c.gone
	closeAndLook(t, server)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	durable := startServer(t, Config{Durable: true, Settings: map[string]string{"work_mem": "7MB"}}, withoutURL())
	for _, row := range []struct{ name, dsn, setting, want string }{
		{"tests need no fsync", needServer(t).DSN(), "fsync", "off"},
		{"a stopped server keeps what was committed", needServer(t).DSN(), "synchronous_commit", "on"},
		{"benchmarks pay for fsync", durable.DSN(), "fsync", "on"},
		{"benchmarks pay for full pages", durable.DSN(), "full_page_writes", "on"},
		{"two-phase commit can be tested", durable.DSN(), "max_prepared_transactions", "10"},
		{"the caller's setting", durable.DSN(), "work_mem", "7MB"},
		{"no port is open", durable.DSN(), "listen_addresses", ""},
		{"UTF-8 whatever the locale", durable.DSN(), "server_encoding", "UTF8"},
	} {
		if got := query[string](t, row.dsn, "SELECT current_setting('"+row.setting+"')"); got != row.want {
			t.Errorf("%s: %s is %q, want %q", row.name, row.setting, got, row.want)
		}
	}
}

func TestUnusableSettingSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := start(t.Context(), Config{Only: "installed", Settings: map[string]string{"no_such_setting": "1"}},
		withoutURL())
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("error does not quote the server's log: %v", err)
	}
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := start(ctx, Config{}, withoutURL()); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled context: %v", err)
	}
}

func TestLongTMPDIRIsNotUsedForSockets(t *testing.T) {
	long := filepath.Join(openDir(t), strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	if root, err := clusterRoot(Config{}); err != nil || root == long {
		t.Errorf("clusterRoot: %s, %v; want a shorter one", root, err)
	}
}
