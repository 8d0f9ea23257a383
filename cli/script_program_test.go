package cli_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/testkit"
)

// runHere runs the program with a script's DATABASE_URL in this process: a process of its own costs many times as much
// with the race detector. An argument that is a file of the script stands for its full path, of which the output shows
// the name alone. A line that leans on standard input or on other variables is `exec program …`.
// Zero columns are no terminal.
func runHere(ts *testscript.TestScript, columns int, args []string) (out, errs string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Soon)
	defer cancel()
	words := []string{"strunk"}
	if url := ts.Getenv("DATABASE_URL"); url != "" {
		words = append(words, "--database-url", url)
	}
	for _, arg := range args {
		if path := ts.MkAbs(arg); arg != "" && exists(path) {
			arg = path
		}
		words = append(words, arg)
	}
	var stdout, stderr bytes.Buffer
	code = cli.Run(ctx, words, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr,
		Columns: columns})
	inside := ts.Getenv("WORK") + string(os.PathSeparator)
	return strings.ReplaceAll(stdout.String(), inside, ""), strings.ReplaceAll(stderr.String(), inside, ""), code
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// here prints what a run in this process has printed, and returns its exit code.
func here(ts *testscript.TestScript, args []string) int {
	out, errs, code := runHere(ts, 0, args)
	_, _ = ts.Stdout().Write([]byte(out))
	_, _ = ts.Stderr().Write([]byte(errs))
	return code
}

// runProgram runs the program: `strunk stats`, `! strunk show 77`.
func runProgram(ts *testscript.TestScript, neg bool, args []string) {
	if code := here(ts, args); neg != (code != cli.ExitDone) {
		ts.Fatalf("exit code %d", code)
	}
}

// runSteady runs the program (`steady strunk show 1`) and prints words for all that changes.
func runSteady(ts *testscript.TestScript, neg bool, args []string) {
	out, errs, code := runHere(ts, 0, args[1:])
	_, _ = ts.Stdout().Write(steadied([]byte(out)))
	_, _ = ts.Stderr().Write([]byte(errs))
	if neg != (code != cli.ExitDone) {
		ts.Fatalf("exit code %d", code)
	}
}

// exitCode runs the program, which must end with a code: `code 2 strunk nonsense`, or as a process of its own,
// `code 2 exec program nonsense`.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, ok := 0, slices.Contains([]string{"strunk", "exec"}, args[1])
	switch {
	case !ok:
		ts.Fatalf("usage: code N strunk …, or code N exec strunk …")
	case args[1] == "strunk":
		got = here(ts, args[2:])
	default:
		got = codeOf(ts, ts.Exec(args[2], args[3:]...))
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// codeOf is the exit code of a process that has ended with err.
func codeOf(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}
