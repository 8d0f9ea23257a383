//go:build unix

package pgserver

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// standbyPort names the standby's socket, which is in the server's directory.
const standbyPort = "5433"

// process is a server process beside that of the cluster.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

func (c *cluster) startStandby(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	data := filepath.Join(c.dir, "copy")
	if err := signalStandby(data); err != nil {
		return failed("make a standby of the copy: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "standby.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	settings := SettingArgs(c.cfg, map[string]string{"listen_addresses": "", "port": standbyPort,
		"unix_socket_directories": `"` + c.dir + `"`, "synchronous_standby_names": "",
		"wal_retrieve_retry_interval": "100ms",
		"primary_conninfo":            "host='" + c.dir + "' port=" + socketPort + " user=postgres"})
	args := []string{"-c", gateScript, "strunk-gate", program(c.programs.dir, "postgres"), "-D", data}
	cmd := exec.Command("/bin/sh", append(args, settings...)...)
	if err := demote(cmd); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	gone, err := c.guarded(cmd, "standby")
	if err != nil {
		return failed("start the standby: %w", err)
	}
	c.standby = &process{cmd, gone}
	dsn := "postgres://postgres@/postgres?host=" + urlEscape(c.dir) + "&port=" + standbyPort + "&sslmode=disable"
	if err := waitReady(ctx, dsn, gone); err != nil {
		return failed("start the standby: %w: %s", err, tail(filepath.Join(c.dir, "standby.log")))
	}
	return nil
}

// guarded starts a command behind its gate, which opens when the watchdog knows of the process under this word. The
// channel is closed when it has ended, and nil where it has not started.
func (c *cluster) guarded(cmd *exec.Cmd, word string) (gone chan struct{}, err error) {
	gate, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	gone = make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in the log
		close(gone)
	}()
	if _, err := c.watchdog.ask(word + " " + strconv.Itoa(cmd.Process.Pid)); err != nil {
		return gone, errors.Join(err, gate.Close())
	}
	_, err = gate.Write([]byte("go\n"))
	return gone, err
}

func (c *cluster) stopStandby() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.standby == nil {
		return failed("stop the standby: there is none")
	}
	_ = c.standby.cmd.Process.Signal(syscall.SIGQUIT) // fails when it has ended
	<-c.standby.gone
	c.standby = nil
	_, err := c.watchdog.ask("standby 0")
	return err
}

func (c *cluster) startWith(ctx context.Context, env []string) error {
	c.mu.Lock()
	c.env = env
	c.mu.Unlock()
	err := c.start(ctx)
	c.mu.Lock()
	c.env = nil
	c.mu.Unlock()
	return err
}

var epochPattern = regexp.MustCompile(`NextXID:\s+(\d+):`)

func (c *cluster) skipTransactionIDs(ctx context.Context) error {
	control, reset := program(c.programs.dir, "pg_controldata"), program(c.programs.dir, "pg_resetwal")
	for _, path := range []string{control, reset} { // before the server is shut down
		if _, err := os.Stat(path); err != nil {
			return failed("skip transaction ids: %w: %w", exec.ErrNotFound, err)
		}
	}
	if err := c.shutDown(); err != nil {
		return err
	}
	data := filepath.Join(c.dir, "data")
	state, err := run(ctx, control, data)
	if err != nil {
		return failed("read the server's state: %w", err)
	}
	found := epochPattern.FindStringSubmatch(state)
	if found == nil {
		return failed("pg_controldata says nothing of the next transaction id: %s", state)
	}
	epoch, err := strconv.Atoi(found[1])
	if err != nil {
		return err
	}
	if _, err := run(ctx, reset, "-e", strconv.Itoa(epoch+1), data); err != nil {
		return failed("skip transaction ids: %w", err)
	}
	return c.start(ctx)
}

// shutDown ends the server in good order ("fast").
func (c *cluster) shutDown() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return failed("shut the server down: it is not running")
	}
	_ = c.server.Process.Signal(syscall.SIGINT) // fails when it has ended
	<-c.gone
	c.server = nil
	_, err := c.watchdog.ask("pid 0")
	return err
}
