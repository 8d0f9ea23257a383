//go:build unix

package pgserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// Watchdog is a shell in a session of its own, whose standard input only this process holds open. Once that ends, by
// end or by the death of this process, its script cleans up; so a clean end and a killed parent go the same way.
type Watchdog struct {
	cmd   *exec.Cmd
	mu    sync.Mutex // held for one question and its answer
	stdin io.WriteCloser
	out   *bufio.Reader
}

// watchdogPrelude keeps signals to the parent's group, and an answer that nobody reads, from ending
// a script early. It finds mktemp, rm and sleep also where the caller's PATH does not lead to them.
const watchdogPrelude = `trap '' HUP INT QUIT TERM PIPE
PATH=$PATH:/usr/bin:/bin
`

// startWatchdog starts the script with its parameters. The command may have been given a user and an environment.
func startWatchdog(prepare func(*exec.Cmd) error, script string, args ...string) (*Watchdog, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", watchdogPrelude + script, "strunk-watchdog"}, args...)...)
	if err := prepare(cmd); err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the watchdog%s: %w", asUser(), err)
	}
	return &Watchdog{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}, nil
}

// ask sends a line, unless it is empty, and returns the answer.
func (w *Watchdog) ask(line string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if line != "" {
		if _, err := io.WriteString(w.stdin, line+"\n"); err != nil {
			return "", fmt.Errorf("the watchdog is gone: %w", err)
		}
	}
	answer, err := w.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the watchdog is gone: %w", err)
	}
	return strings.TrimSuffix(answer, "\n"), nil
}

// Dismiss ends a watchdog whose script takes a word to mean that nothing is left to do. It does nothing to nil.
func (w *Watchdog) Dismiss() error {
	if w == nil {
		return nil
	}
	_, _ = io.WriteString(w.stdin, "done\n")
	return w.End()
}

// End has the watchdog clean up and waits for it. It does nothing to nil.
func (w *Watchdog) End() error {
	if w == nil {
		return nil
	}
	err := w.stdin.Close()
	return errors.Join(err, w.cmd.Wait())
}
