package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
)

// asProgram makes the test binary be the program.
const asProgram = "ORDERFLOW_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testkit.Main(m)
}

// start runs the program with further environment variables and returns its exit status and output.
func start(t *testing.T, env ...string) (status int, out, problems string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	// read, so that go test caches by it
	cmd.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+os.Getenv("DATABASE_URL"))
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestOrderflowEndsInOK(t *testing.T) {
	t.Parallel()
	status, out, problems := start(t)
	if status != 0 || !strings.HasSuffix(out, "\norderflow: ok\n") || problems != "" {
		t.Errorf("exit status %d, want 0 and a last line of \"orderflow: ok\"\n%s%s", status, out, problems)
	}
}

func TestOrderflowSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	status, out, problems := start(t, "DATABASE_URL=postgres://127.0.0.1:1/none?connect_timeout=5")
	if status != 1 || strings.Contains(out, "ok") || !strings.HasPrefix(problems, "orderflow: ") {
		t.Errorf("exit status %d without a server, want 1 and the reason\n%s%s", status, out, problems)
	}
}

func TestExpectNamesTheBrokenExpectation(t *testing.T) {
	t.Parallel()
	if err := expect(true, "nothing"); err != nil {
		t.Errorf("an expectation that holds: %v", err)
	}
	err := expect(false, "the order is paid, not %q", "placed")
	if err == nil || err.Error() != `expected that the order is paid, not "placed"` {
		t.Errorf("a broken expectation reads %v", err)
	}
}
