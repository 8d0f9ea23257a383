//go:build !unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// cluster is a server of our own, reached by a port of localhost, under the control of pg_ctl, which gives up an
// administrator's rights as PostgreSQL demands. There is no watchdog: Close removes it, a killed caller leaves it.
type cluster struct {
	programs Programs
	cfg      Config
	words    string
	dir      string

	mu      sync.Mutex // held while starting and stopping
	port    int
	running bool
}

// portTries is how many ports are tried: one that was free may be taken by the time the server asks for it.
const portTries = 10

func openCluster(ctx context.Context, cfg Config, found Programs, words string) (Backend, error) {
	dir, err := os.MkdirTemp("", "strunk-pg-")
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: found, cfg: cfg, words: words, dir: dir}
	if err := c.create(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) create(ctx context.Context) error {
	args := []string{"-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"}
	if err := c.command(ctx, "initdb", args...); err != nil {
		return err
	}
	var err error
	for range portTries {
		if c.port, err = FreePort(); err != nil {
			return err
		}
		if err = c.start(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// command runs a program with its output in a file: a server that pg_ctl starts would hold a pipe open.
func (c *cluster) command(ctx context.Context, name string, args ...string) error {
	file := filepath.Join(c.dir, name+".log")
	log, err := os.Create(file)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, program(c.programs.dir, name), args...)
	cmd.Env = serverEnv(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, tail(file))
	}
	return nil
}

func (c *cluster) DSN() string {
	return "postgres://postgres@127.0.0.1:" + strconv.Itoa(c.port) + "/postgres?sslmode=disable"
}

func (c *cluster) Source() string { return c.words }

func (c *cluster) start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return failed("start the server: it is running")
	}
	settings := SettingArgs(c.cfg, map[string]string{"listen_addresses": "127.0.0.1", "port": strconv.Itoa(c.port)})
	for i, s := range settings {
		settings[i] = `"` + s + `"`
	}
	log := filepath.Join(c.dir, "log")
	if err := c.command(ctx, "pg_ctl", "start", "-w", "-D", c.data(), "-l", log, "-o",
		strings.Join(settings, " ")); err != nil {
		return fmt.Errorf("%w: %s", err, tail(log))
	}
	c.running = true
	return waitReady(ctx, c.DSN(), nil)
}

func (c *cluster) stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return failed("stop the server: it is not running")
	}
	c.running = false
	return c.command(ctx, "pg_ctl", "stop", "-w", "-m", "immediate", "-D", c.data())
}

func (c *cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.running {
		c.running = false
		err = c.command(context.Background(), "pg_ctl", "stop", "-w", "-m", "immediate", "-D", c.data())
	}
	if err = errors.Join(err, os.RemoveAll(c.dir)); err != nil {
		return failed("remove the server in %s: %w", c.dir, err)
	}
	return nil
}
