//go:build unix

package faults

import "syscall"

// Freeze stops the child's process where it stands (SIGSTOP). On Windows it returns errors.ErrUnsupported.
func (c *Child) Freeze() error { return c.cmd.Process.Signal(syscall.SIGSTOP) }

// Wake lets a frozen child go on (SIGCONT).
func (c *Child) Wake() error { return c.cmd.Process.Signal(syscall.SIGCONT) }
