package faults

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// roleVariable tells a test binary that it is a child, and which.
const roleVariable = "STRUNK_TEST_CHILD"

// Roles are what a test binary can be when it is started by Spawn.
type Roles map[string]func()

// Main runs the role that this process was started for and exits, or returns where it is the test itself. Call it first
// in TestMain. A child ends with its parent.
func Main(roles Roles) {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	run := roles[role]
	if run == nil {
		os.Stderr.WriteString("no such role: " + role + "\n")
		os.Exit(2)
	}
	go func() {
		for told := bufio.NewScanner(os.Stdin); told.Scan(); { // ends when the parent does
			hear(told.Text())
		}
		os.Exit(3)
	}()
	run()
	os.Exit(0)
}

// Heard is what a role does with what it is told, each time beside everything else. It is set before Main.
var Heard func(what string)

// tellStacks is what Stacks tells a child.
const tellStacks = "stacks"

// hear does what the parent has told this process to.
func hear(what string) {
	if what == tellStacks {
		stacks := make([]byte, 4<<20)
		fmt.Fprintf(os.Stderr, "process %d:\n%s\n", os.Getpid(), stacks[:runtime.Stack(stacks, true)])
	}
	if Heard != nil {
		go Heard(what)
	}
}

// Child is a running copy of the test binary.
type Child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	gone  chan struct{}
	once  sync.Once
}

// Spawn starts the test binary again in a role, with settings ("NAME=value") added to its
// environment. It is killed at the end of the test.
func Spawn(t testing.TB, role string, settings ...string) *Child {
	t.Helper()
	return SpawnOf(t, os.Args[0], role, settings...)
}

// SpawnOf is Spawn of another test binary, such as one of another version of the library.
func SpawnOf(t testing.TB, binary, role string, settings ...string) *Child {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = append(append(os.Environ(), settings...), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Child{cmd: cmd, in: in, lines: make(chan string, 10_000), gone: make(chan struct{})}
	go c.read(out)
	t.Cleanup(func() { c.Kill(); _ = in.Close() })
	return c
}

func (c *Child) read(out io.Reader) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		c.lines <- scanner.Text()
	}
	_ = c.cmd.Wait() // killed, mostly
	close(c.gone)
}

// EachLine calls f with each line that the child prints, until it has ended.
func (c *Child) EachLine(f func(line string)) {
	for {
		line, ok := c.next(nil)
		if !ok {
			return
		}
		f(line)
	}
}

// Await returns what follows prefix on the next line that begins with it; other lines are passed
// over. What a child printed before it ended counts.
func (c *Child) Await(t testing.TB, prefix string, within time.Duration) string {
	t.Helper()
	deadline := time.After(within)
	for {
		line, ok := c.next(deadline)
		if rest, found := strings.CutPrefix(line, prefix); ok && found {
			return strings.TrimSpace(rest)
		}
		switch {
		case ok:
		case c.ended():
			t.Fatalf("the child ended before it printed %q", prefix)
		default:
			t.Fatalf("the child did not print %q within %v", prefix, within)
		}
	}
}

// next waits for a line; there is none where the child has ended and all its lines are read, or at the deadline.
func (c *Child) next(deadline <-chan time.Time) (line string, ok bool) {
	select {
	case line = <-c.lines:
		return line, true
	case <-c.gone: // and everything is in lines
		select {
		case line = <-c.lines:
			return line, true
		default:
			return "", false
		}
	case <-deadline:
		return "", false
	}
}

func (c *Child) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Kill ends the child as SIGKILL does and returns when it is gone.
func (c *Child) Kill() {
	c.once.Do(func() { _ = c.cmd.Process.Kill() })
	for {
		select {
		case <-c.gone:
			return
		case <-c.lines:
		}
	}
}

// Tell has the child's Heard called. It goes unheard where the child has ended.
func (c *Child) Tell(what string) { _, _ = io.WriteString(c.in, what+"\n") }

// Stacks has the child write the stacks of its goroutines to standard error. It goes on.
func (c *Child) Stacks() { c.Tell(tellStacks) }
