//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/testkit"
)

// childEnv makes the test binary a program that starts a server and ends in the way it names; see child.
const childEnv = "STRUNK_TEST_CHILD"

// noPsqlEnv keeps a child from finding psql, or any program.
const noPsqlEnv = "STRUNK_TEST_NO_PSQL"

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		child(how)
		return
	}
	testkit.Main(m)
}

// child prints a connection string, of its server or of a database in that of DATABASE_URL, then ends: by "return",
// "exit" or "panic", or it waits to be killed. As "early" it prints a line before it starts the server.
func child(how string) {
	if how == "early" {
		fmt.Println("starting")
	}
	server, dsn, err := childServer()
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(dsn)
	switch how {
	case "return":
	case "exit":
		os.Exit(3)
	case "panic":
		panic("as the test asked")
	default:
		time.Sleep(time.Hour) // select {} is a deadlock to a program without cgo that waits for nothing else
		runtime.KeepAlive(server)
	}
}

func childServer() (server *Server, dsn string, err error) {
	p := systemPlaces()
	if os.Getenv(noPsqlEnv) != "" {
		p.path, p.programs = "", nil
	}
	if p.databaseURL == "" {
		server, err := start(context.Background(), Config{Only: "installed"}, p)
		if err != nil {
			return nil, "", err
		}
		return server, server.DSN(), nil
	}
	server, err = start(context.Background(), Config{}, p)
	if err != nil {
		return nil, "", err
	}
	dsn, _, err = server.NewDatabase(context.Background(), "")
	return server, dsn, err
}

// sharedServer is one server for the tests that do not stop it. The watchdog removes it after the tests.
var sharedServer = sync.OnceValues(func() (*Server, error) {
	return start(context.Background(), Config{Only: "installed"}, withoutURL())
})

// withoutURL is the system's places, so that a DATABASE_URL of the environment does not change what is tested.
func withoutURL() places {
	p := systemPlaces()
	p.databaseURL = ""
	return p
}

func needServer(t *testing.T) *Server {
	t.Helper()
	server, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func startServer(t testing.TB, cfg Config, p places) *Server {
	t.Helper()
	if cfg.Only == "" && p.databaseURL == "" {
		cfg.Only = "installed" // a failure is not to be hidden by another way
	}
	server, err := start(t.Context(), cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec1(t *testing.T, dsn, sql string) {
	t.Helper()
	var admin admin
	defer admin.close()
	if err := admin.execute(t.Context(), dsn, func(*pgx.Conn) string { return sql }); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, dsn, sql string) T {
	t.Helper()
	var v T
	if err := connect(t, dsn).QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// openDir is a directory with a short path that every user can write to, in memory where there is room.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(cmp.Or(memoryRoot(), "/tmp"), "strunk-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// eventually waits until check has nothing to say against it.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	testkit.EventuallyState(t, "nothing to complain of", func() (string, bool) {
		complaint := check()
		return complaint, complaint == ""
	})
}

// nothingLeft complains of what is in a directory and of processes that work in it or name it.
func nothingLeft(dir string) func() string {
	return func() string {
		left, _ := filepath.Glob(filepath.Join(dir, "strunk-pg-*"))
		if len(left) == 0 {
			left = processesOf(dir) // costs more to find, and goes before the directory
		}
		if len(left) > 0 {
			return "left behind: " + strings.Join(left, ", ")
		}
		return ""
	}
}

func processesOf(dir string) []string {
	var found []string
	out, _ := exec.Command("ps", "-A", "-o", "pid=,args=").Output() // absent in small containers, which have /proc
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir+"/") || strings.HasSuffix(strings.TrimSpace(line), dir) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			found = append(found, link)
		}
	}
	return found
}

// childCommand makes the test binary a child process, as child says, with its temporary files in dir.
func childCommand(t *testing.T, how, dir string, env ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childEnv+"="+how, "TMPDIR="+dir, "DATABASE_URL=", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd, signal syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
