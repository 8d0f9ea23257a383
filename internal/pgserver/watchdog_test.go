//go:build unix

package pgserver

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
)

func TestNothingIsLeftOfAnEndedParent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, how string
		signal    syscall.Signal // 0: it ends by itself
	}{
		{"normal end", "return", 0},
		{"os.Exit", "exit", 0},
		{"panic", "panic", 0},
		{"SIGINT", "wait", syscall.SIGINT},
		{"SIGTERM", "wait", syscall.SIGTERM},
		{"SIGKILL", "wait", syscall.SIGKILL},
		{"SIGKILL while the server starts", "early", syscall.SIGKILL},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			cmd := childCommand(t, row.how, dir)
			readLine(t, cmd)
			if row.how == "early" {
				eventually(t, func() string {
					if made, _ := filepath.Glob(filepath.Join(dir, "strunk-pg-*", "data", "*")); len(made) == 0 {
						return "initdb has not begun"
					}
					return ""
				})
			}
			if row.signal != 0 {
				kill(t, cmd, row.signal)
			} else {
				_ = cmd.Wait() // by a panic, for one
			}
			eventually(t, nothingLeft(dir))
		})
	}
}

func TestRunsAsUnprivilegedUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user; the other tests run as this one")
	}
	nobody, err := lookUp("nobody")
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	cmd := childCommand(t, "wait", dir)
	cmd.Path = filepath.Join(dir, "child") // the test binary's own directory is closed to others
	copyFile(t, cmd.Args[0], cmd.Path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.uid, Gid: nobody.gid}}
	dsn := readLine(t, cmd)
	if got := query[string](t, dsn, "SELECT current_user::text"); got != "postgres" {
		t.Errorf("role is %s, want postgres", got)
	}
	kill(t, cmd, syscall.SIGKILL)
	eventually(t, nothingLeft(dir))
}

func TestServerProgramsNeverRunAsRoot(t *testing.T) {
	t.Parallel()
	server := needServer(t)
	pid := query[int](t, server.DSN(), "SELECT pg_backend_pid()")
	out, err := exec.Command(testkit.Program(t, "ps"), "-o", "uid=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if uid := strings.TrimSpace(string(out)); uid == "0" {
		t.Error("the server runs as root")
	}
}

// readLine starts a child and returns the first line that it prints.
func readLine(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails when it has ended
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		rest, _ := io.ReadAll(lines)
		t.Fatalf("child: %s%s%v", line, rest, err)
	}
	return strings.TrimSpace(line)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}
