//go:build unix

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
)

// PgBouncer starts a pooler in transaction mode before a database, with so many connections to the server and further
// settings ("max_prepared_statements = 100"), and returns its DSN. A test is left out where the program is missing.
func PgBouncer(t *testing.T, dsn string, pooled int, settings ...string) string {
	t.Helper()
	program := pgbouncer(t)
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
%s
`, target, port, pooled, strings.Join(settings, "\n"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, config)
	var out output
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
	testkit.EventuallyState(t, "pgbouncer answers", func() (string, bool) {
		conn, err := pgx.Connect(context.Background(), through.String())
		if err != nil {
			return err.Error() + "\n" + out.String(), false
		}
		return "", conn.Close(context.Background()) == nil
	})
	return through.String()
}

func pgbouncer(t *testing.T) string {
	t.Helper()
	return testkit.Program(t, "pgbouncer", "/usr/sbin/pgbouncer")
}

var pgbouncerVersion = regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`)

// NeedsPgBouncer leaves a test out where the installed PgBouncer is older than a version.
func NeedsPgBouncer(t *testing.T, major, minor int) {
	t.Helper()
	out, err := exec.Command(pgbouncer(t), "--version").CombinedOutput()
	found := pgbouncerVersion.FindStringSubmatch(string(out))
	if err != nil || found == nil {
		t.Fatalf("pgbouncer --version: %v: %s", err, out)
	}
	gotMajor, err1 := strconv.Atoi(found[1])
	gotMinor, err2 := strconv.Atoi(found[2])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if gotMajor < major || gotMajor == major && gotMinor < minor {
		t.Skipf("left out: %s is installed, and the test needs %d.%d or later", found[0], major, minor)
	}
}

// unprivileged has a command run as another user where this is root, and lets that user into dir: PgBouncer refuses to
// run as root.
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

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}
