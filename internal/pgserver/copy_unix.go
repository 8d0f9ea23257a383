//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
)

// baseBackup returns the path of pg_basebackup: that of the server's own programs, or another of its version or newer.
func (c *cluster) baseBackup(ctx context.Context) (string, error) {
	p := systemPlaces()
	p.path = c.programs.dir + string(filepath.ListSeparator) + p.path
	return client(ctx, p, "pg_basebackup", c.programs.major, math.MaxInt)
}

func (c *cluster) copyData(ctx context.Context) error {
	backup, err := c.baseBackup(ctx)
	if err != nil {
		return failed("copy the server's data: %w", err)
	}
	dir := filepath.Join(c.dir, "copy")
	if err := os.RemoveAll(dir); err != nil { // of a copy that failed, or that nobody used
		return err
	}
	cmd := exec.CommandContext(ctx, backup, "-d", c.DSN(), "-D", dir, "-c", "fast", "-X", "stream", "--no-sync")
	if err := demote(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return failed("copy the server's data: %w: %s", err, out)
	}
	return nil
}

func (c *cluster) useCopy(standby bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return failed("use a copy of the server's data: it is running")
	}
	data, dir := filepath.Join(c.dir, "data"), filepath.Join(c.dir, "copy")
	if err := errors.Join(os.RemoveAll(data), os.Rename(dir, data)); err != nil {
		return fmt.Errorf("use a copy of the server's data: %w", err)
	}
	if !standby {
		return nil
	}
	return signalStandby(data)
}

// signalStandby makes a server's data those of a standby.
func signalStandby(data string) error {
	signal := exec.Command("/bin/sh", "-c", `: >"$1"`, "sh", filepath.Join(data, "standby.signal"))
	return errors.Join(demote(signal), signal.Run())
}
