//go:build unix

package faults

import "syscall"

// Freeze stops the child's process where it stands (SIGSTOP). On Windows it returns errors.ErrUnsupported.
func (c *Child) Freeze() error { return FreezeProcess(c.PID()) }

// Wake lets a frozen child go on (SIGCONT).
func (c *Child) Wake() error { return WakeProcess(c.PID()) }

// FreezeProcess stops a process, such as a server's backend, where it stands (SIGSTOP).
func FreezeProcess(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

// WakeProcess lets a frozen process go on (SIGCONT).
func WakeProcess(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
